//! What runs of a lab and what does not.

use crate::{daemon::Daemon, error::Result, host::Host, lab::Lab, network};

/// A process of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonStatus {
    /// Its name, e.g. `kubelet`.
    pub name: String,
    /// Its process id while it runs.
    pub pid: Option<i32>,
}

/// A host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostStatus {
    /// Its name, e.g. `w1`.
    pub name: String,
    /// Interfaces and addresses, e.g. `eth0 198.51.100.11`.
    pub addresses: Vec<String>,
    /// Its processes that go on by themselves.
    pub daemons: Vec<DaemonStatus>,
    /// What was done to it: `no power`, `eth1 unplugged`, `cut off from the API server`.
    pub faults: Vec<String>,
}

impl Lab {
    /// The state of each host.
    ///
    /// # Errors
    /// If the switch or a node cannot be asked.
    pub fn status(&self) -> Result<Vec<HostStatus>> {
        let unplugged = network::unplugged(self)?;
        let mut all = Vec::new();
        for spec in self.specs() {
            let host = self.named(&spec.name);
            let pulled = spec.cables.iter().filter(|cable| unplugged.contains(&cable.port));
            let mut faults: Vec<_> = pulled.map(|cable| format!("{} unplugged", cable.interface)).collect();
            if host.cgroup().is_frozen() {
                faults.push("no power".to_owned());
            }
            if self.is_cut(&host)? {
                faults.push("cut off from the API server".to_owned());
            }
            let addresses = spec.cables.iter().map(|cable| format!("{} {}", cable.interface, cable.address));
            all.push(HostStatus {
                addresses: addresses.collect(),
                daemons: daemons(&host),
                faults,
                name: spec.name,
            });
        }
        Ok(all)
    }
}

fn daemons(host: &Host) -> Vec<DaemonStatus> {
    let status = |name: String| DaemonStatus { pid: Daemon::new(host, &name).pid(), name };
    Daemon::names_of(host).into_iter().map(status).collect()
}
