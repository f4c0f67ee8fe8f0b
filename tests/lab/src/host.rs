//! A host of the lab: what runs in its network namespace.

use std::{
    collections::BTreeSet,
    fs::File,
    net::Ipv4Addr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    cgroup::Cgroup,
    command,
    error::{Error, Result},
    lab_dir::LabDir,
    name::LabName,
    namespace::Namespace,
};

/// A host of the lab.
#[derive(Clone, Debug)]
pub struct Host {
    lab: LabName,
    name: String,
    dir: PathBuf,
}

impl Host {
    /// A host of that name in a lab; see [`Self::create`].
    #[must_use]
    pub fn new(lab: &LabName, name: &str) -> Self {
        Self { lab: lab.clone(), name: name.to_owned(), dir: LabDir::of(lab).path().join(name) }
    }

    /// Makes its directory, its cgroup and its network namespace. [`Lab::down`](crate::Lab::down) removes them.
    ///
    /// # Errors
    /// If one of them cannot be made; [`Error::NotOurs`] if a directory or a namespace of that name is there that no lab made.
    pub fn create(&self) -> Result<()> {
        LabDir::of(&self.lab).create()?;
        command::create_dir(&self.dir)?;
        self.cgroup().create()?;
        self.own_namespace().create()
    }

    /// The name within the lab, e.g. `w1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its network namespace, e.g. `fhlab-foghorn-w1`.
    #[must_use]
    pub fn namespace(&self) -> String {
        self.own_namespace().name()
    }

    pub(crate) fn own_namespace(&self) -> Namespace {
        Namespace::of_host(&self.lab, &self.name)
    }

    /// The folder with its configuration, logs and pid files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn namespace_file(&self) -> PathBuf {
        self.own_namespace().file().to_owned()
    }

    pub(crate) fn cgroup(&self) -> Cgroup {
        Cgroup::of_host(&self.lab, &self.name)
    }

    /// A command that will run in the host's network namespace. (`ip netns exec` would hide `/sys/fs/cgroup`.)
    #[must_use]
    pub fn command<S: AsRef<str>>(&self, argv: &[S]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_file().display()));
        command.args(argv.iter().map(AsRef::as_ref));
        command
    }

    /// Runs a command on the host and gives its standard output.
    ///
    /// # Errors
    /// If it cannot be started or ends with an error: [`Error::Command`] with what it wrote.
    pub fn exec<S: AsRef<str>>(&self, argv: &[S]) -> Result<String> {
        command::run(&mut self.command(argv))
    }

    /// Starts a command on the host, its standard output and error piped. It ends with [`Lab::down`](crate::Lab::down) at the latest.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn<S: AsRef<str>>(&self, argv: &[S]) -> Result<Child> {
        let mut command = self.command(argv);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(Error::io(format!("starting `{}`", command::shown(&command))))
    }

    /// Runs `work` in a new thread whose sockets are the host's.
    ///
    /// # Errors
    /// If there is no such network namespace. The thread itself answers with an error if it could not enter it.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = self.namespace_file();
        let namespace = File::open(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        Ok(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| Error::io(format!("entering {}", path.display()))(error.into()))?;
            Ok(work())
        }))
    }

    /// Runs `ip` in the host's namespace, with a command on each line.
    ///
    /// # Errors
    /// [`Error::Command`] with what it wrote.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let ip = ["ip", "-n", &self.namespace(), "-batch", "-"];
        command::run_with_input(&mut command::command(&ip), batch).map(drop)
    }

    /// Sets kernel parameters of the host's network, e.g. `ipv4/ip_forward`.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn sysctl(&self, settings: Vec<(&'static str, &'static str)>) -> Result<()> {
        let write = move || {
            settings
                .iter()
                .try_for_each(|(key, value)| command::write(&Path::new("/proc/sys/net").join(key), value))
        };
        self.inside(write)?.join().unwrap_or_else(|_| Err(Error::Config("the thread panicked".to_owned())))?
    }

    /// Loads nftables rules in the host's namespace.
    pub(crate) fn nft(&self, rules: &str) -> Result<()> {
        command::run_with_input(&mut self.command(&["nft", "-f", "-"]), rules).map(drop)
    }

    /// Who answers ARP requests for an address on an interface of this host within a second: hardware addresses in lower case.
    ///
    /// # Errors
    /// If `arping` cannot be run.
    pub fn who_has(&self, interface: &str, address: Ipv4Addr) -> Result<BTreeSet<String>> {
        let address = address.to_string();
        let output = self
            .command(&["arping", "-b", "-w", "1", "-I", interface, &address])
            .output()
            .map_err(Error::io("running arping"))?;
        if !output.stderr.is_empty() {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Command { command: "arping".to_owned(), status: self.name.clone(), output });
        }
        Ok(repliers(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// The hardware addresses in the output of iputils' arping.
fn repliers(output: &str) -> BTreeSet<String> {
    output
        .lines()
        .filter(|line| line.contains(" reply from "))
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_ascii_lowercase()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replier_of_arping_counts_once() {
        let output = "ARPING 198.51.100.11 from 198.51.100.200 eth0\n\
            Unicast reply from 198.51.100.11 [02:0F:09:00:01:0B]  0.541ms\n\
            Unicast reply from 198.51.100.11 [02:0F:09:00:01:0C]  0.6ms\n\
            Unicast reply from 198.51.100.11 [02:0F:09:00:01:0B]  0.7ms\n\
            Sent 2 probes (2 broadcast(s))\nReceived 3 response(s)\n";
        let expected = ["02:0f:09:00:01:0b", "02:0f:09:00:01:0c"].map(str::to_owned).into();
        assert_eq!(repliers(output), expected);
    }
}
