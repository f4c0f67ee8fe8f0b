//! What can happen to a cluster, on demand.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    control_plane,
    error::{Error, Result},
    foghorn::namespace,
    lab::Lab,
    network, node,
    topology::Network,
};

/// For so long an announcer that is killed for long does not come back.
const LOST: Duration = Duration::from_secs(6);
/// Between two looks for what kubelet has started.
const LOOK: Duration = Duration::from_millis(20);

impl Lab {
    /// A node loses power: its cables are dead and its processes stand still.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn power_off(&self, node: &str) -> Result<()> {
        let host = self.node(node)?;
        Network::OF_NODES.into_iter().try_for_each(|network| self.unplug(node, network))?;
        host.cgroup().freeze(true)
    }

    /// The node goes on where [`Self::power_off`] stopped it, as after a long sleep.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn power_on(&self, node: &str) -> Result<()> {
        let host = self.node(node)?;
        host.cgroup().freeze(false)?;
        Network::OF_NODES.into_iter().try_for_each(|network| self.plug(node, network))
    }

    /// The node starts anew, as after a power cut: of its processes nothing is left, and of its network what its own configuration
    /// says; its disk is as it was.
    ///
    /// # Errors
    /// If there is no such node, or it does not start.
    pub fn reboot(&self, node: &str) -> Result<()> {
        let host = self.node(node)?;
        host.cgroup().remove()?;
        host.cgroup().create()?;
        network::create_again(self, &host)?;
        node::start_runtime(self, &host, &[])?;
        node::start_kubelet_and_proxy(self, &host)
    }

    /// Pulls the cable of a host to a network: the host sees no carrier.
    ///
    /// # Errors
    /// [`Error::NoCable`].
    pub fn unplug(&self, host: &str, network: Network) -> Result<()> {
        network::set_cable(self, host, network, false)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// [`Error::NoCable`].
    pub fn plug(&self, host: &str, network: Network) -> Result<()> {
        network::set_cable(self, host, network, true)
    }

    /// The processes of the containers that run on a node in a Kubernetes namespace; the API server is not asked.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or if the node's containerd does not answer.
    pub fn container_pids(&self, node: &str, namespace: &str) -> Result<Vec<i32>> {
        self.pids(node, namespace, "")
    }

    /// Those of the containers to which more applies, by their labels.
    fn pids(&self, node: &str, namespace: &str, more: &str) -> Result<Vec<i32>> {
        let host = self.node(node)?;
        let in_namespace = format!("labels.\"io.kubernetes.pod.namespace\"=={namespace}{more}");
        let containers = node::ctr(
            &host,
            &[
                "containers",
                "list",
                &format!("{in_namespace},labels.\"io.cri-containerd.kind\"==container"),
                "--quiet",
            ],
        )?;
        let tasks = node::ctr(&host, &["tasks", "list"])?;
        let pid = |line: &str| {
            let mut fields = line.split_whitespace();
            let (id, pid, status) = (fields.next()?, fields.next()?, fields.next()?);
            (status != "STOPPED" && containers.lines().any(|known| known == id))
                .then(|| pid.parse().ok())
                .flatten()
        };
        let pids: Vec<i32> = tasks.lines().filter_map(pid).collect();
        if pids.is_empty() {
            return Err(Error::NoContainer { node: node.to_owned(), namespace: namespace.to_owned() });
        }
        Ok(pids)
    }

    /// The announcer of a plane on a node: the process in the plane's namespace `foghorn-<plane>`.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn announcer_pids(&self, plane: &str, node: &str) -> Result<Vec<i32>> {
        self.part_pids(plane, node, "announcer")
    }

    /// The container beside the announcer of a plane on a node, which changes the node's network.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn datapath_pids(&self, plane: &str, node: &str) -> Result<Vec<i32>> {
        self.part_pids(plane, node, "datapath")
    }

    fn part_pids(&self, plane: &str, node: &str, part: &str) -> Result<Vec<i32>> {
        let of_part = format!(",labels.\"io.kubernetes.container.name\"=={part}");
        self.pids(node, &namespace(plane), &of_part)
    }

    /// kill -9 of the announcer of a plane on a node; kubelet starts it again.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn kill_announcer(&self, plane: &str, node: &str) -> Result<()> {
        self.signal_announcer(plane, node, Signal::KILL)
    }

    /// The same for longer than any plane of the tests waits for a lost member: what kubelet starts again is killed too.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn kill_announcer_for_long(&self, plane: &str, node: &str) -> Result<()> {
        self.kill_announcer(plane, node)?;
        let end = Instant::now() + LOST;
        while Instant::now() < end {
            for pid in self.announcer_pids(plane, node).unwrap_or_default() {
                // It may have ended by itself.
                let _gone = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Stops the announcer where it is (SIGSTOP).
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn stop_announcer(&self, plane: &str, node: &str) -> Result<()> {
        self.signal_announcer(plane, node, Signal::STOP)
    }

    /// Lets the announcer go on (SIGCONT).
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub fn resume_announcer(&self, plane: &str, node: &str) -> Result<()> {
        self.signal_announcer(plane, node, Signal::CONT)
    }

    fn signal_announcer(&self, plane: &str, node: &str, signal: Signal) -> Result<()> {
        for pid in self.announcer_pids(plane, node)? {
            let doing = format!("sending {signal:?} to the announcer of {plane} on {node}, process {pid}");
            if let Some(pid) = Pid::from_raw(pid) {
                kill_process(pid, signal).map_err(|error| Error::io(doing)(error.into()))?;
            }
        }
        Ok(())
    }

    /// Ends the API server.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop_api(&self) -> Result<()> {
        control_plane::stop_api(self)
    }

    /// Starts the API server again and waits until it serves.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_api(&self) -> Result<()> {
        control_plane::start_api(self)
    }
}
