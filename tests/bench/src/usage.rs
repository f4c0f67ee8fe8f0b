//! Processor time of the programs that take part, and of the machine.

use std::fs;

use foghorn_lab::{Error, Lab, Result, cpu_time};

/// Process ids by the program's part.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) announcer: i32,
    operator: i32,
    /// The API server and its storage.
    api: Vec<i32>,
    dhcp_server: i32,
}

/// Seconds of processor time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Usage {
    pub(crate) announcer: f64,
    pub(crate) operator: f64,
    pub(crate) api: f64,
    pub(crate) dhcp_server: f64,
    machine: Machine,
}

/// What all processors of the machine did, in the kernel's units.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Machine {
    busy: f64,
    all: f64,
}

impl Programs {
    /// Those of a lab with one node.
    pub(crate) fn of(lab: &Lab, node: &str, plane: &str, dhcp_host: &str) -> Result<Self> {
        let daemons: Vec<_> = lab
            .status()?
            .into_iter()
            .flat_map(|host| host.daemons.into_iter().map(move |daemon| (host.name.clone(), daemon)))
            .collect();
        let daemon = |host: &str, name: &str| {
            let found = daemons.iter().find(|(of, daemon)| of == host && daemon.name == name);
            found.and_then(|(_, daemon)| daemon.pid).ok_or_else(|| missing(name))
        };
        let only = |pids: Vec<i32>, name: &str| pids.first().copied().ok_or_else(|| missing(name));
        Ok(Self {
            announcer: only(lab.announcer_pids(plane, node)?, "announcer")?,
            operator: only(lab.container_pids(node, "foghorn-system")?, "operator")?,
            api: vec![daemon("cp", "kube-apiserver")?, daemon("cp", "etcd")?],
            dhcp_server: daemon(dhcp_host, "dnsmasq")?,
        })
    }

    /// What they have used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let seconds = |pid: i32| cpu_time(pid).map(|time| time.as_secs_f64());
        Ok(Usage {
            announcer: seconds(self.announcer)?,
            operator: seconds(self.operator)?,
            api: self.api.iter().map(|pid| seconds(*pid)).sum::<Result<f64>>()?,
            dhcp_server: seconds(self.dhcp_server)?,
            machine: Machine::now()?,
        })
    }
}

impl Usage {
    /// What was used since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            announcer: self.announcer - before.announcer,
            operator: self.operator - before.operator,
            api: self.api - before.api,
            dhcp_server: self.dhcp_server - before.dhcp_server,
            machine: Machine {
                busy: self.machine.busy - before.machine.busy,
                all: self.machine.all - before.machine.all,
            },
        }
    }

    /// How much of all processors was in use, by whatever.
    pub(crate) fn machine_percent(&self) -> Option<f64> {
        (self.machine.all > 0.0).then(|| 100.0 * self.machine.busy / self.machine.all)
    }
}

impl Machine {
    fn now() -> Result<Self> {
        let file = "/proc/stat";
        let text = fs::read_to_string(file)
            .map_err(|source| Error::Io { doing: format!("reading {file}"), source })?;
        Self::in_stat(&text).ok_or_else(|| Error::Malformed { what: file.to_owned(), why: text })
    }

    /// User, nice, system, idle, waiting for disks, interrupts, ….
    fn in_stat(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let fields: Vec<f64> = fields.map_while(|field| field.parse().ok()).take(8).collect();
        let all: f64 = fields.iter().sum();
        Some(Self { busy: all - fields.get(3)? - fields.get(4)?, all })
    }
}

fn missing(program: &str) -> Error {
    Error::Config(format!("{program} does not run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_busy_with_all_but_idling_and_waiting_for_disks() {
        let before = usage(1.5, "cpu  10 0 10 70 10 0 0 0 5 5\ncpu0 1 1 1 1 1 1 1\n");
        let after = usage(2.0, "cpu  20 5 20 140 15 0 0 0 5 5\n");
        let used = after.since(&before);
        assert_eq!((used.announcer, used.machine_percent()), (0.5, Some(25.0)));
        assert_eq!(Machine::in_stat("cpu  10\n"), None);
    }

    fn usage(announcer: f64, stat: &str) -> Usage {
        let machine = Machine::in_stat(stat).unwrap();
        Usage { announcer, operator: 0.0, api: 0.0, dhcp_server: 0.0, machine }
    }
}
