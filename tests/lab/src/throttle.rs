//! Containers that get little of the processor.

use std::{path::PathBuf, process::Child};

use crate::{
    cgroup,
    command::{read, write},
    error::{Error, Result},
    lab::Lab,
};

/// The time that a quota is measured over, in microseconds.
const PERIOD: u32 = 100_000;
/// Uses all that it gets.
const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];

/// A container whose processor time is limited, and has to be shared with a busy neighbour in the same cgroup, so that the
/// limit is felt. Dropping this ends that.
#[derive(Debug)]
pub struct Throttle {
    folder: PathBuf,
    quota: Quota,
    neighbour: Child,
}

#[derive(Clone, Copy, Debug)]
enum Quota {
    V1,
    V2,
}

impl Lab {
    /// Gives the announcer of a plane on a node that many percent of one core.
    ///
    /// # Errors
    /// [`Error::NoContainer`], or if the container's cgroup cannot be changed.
    pub fn throttle_announcer(&self, plane: &str, node: &str, percent: u32) -> Result<Throttle> {
        let pids = self.announcer_pids(plane, node)?;
        let namespace = format!("foghorn-{plane}");
        let [pid] = pids[..] else { return Err(Error::NoContainer { node: node.to_owned(), namespace }) };
        let (folder, quota) = match cgroup::of_process(pid, "cpu") {
            Some(folder) if folder.join("cpu.max").exists() => (folder, Quota::V2),
            Some(folder) => (folder, Quota::V1),
            None => return Err(Error::Config(format!("process {pid} has no cgroup for its processor time"))),
        };
        let neighbour = self.node(node)?.spawn(&BUSY)?;
        let throttle = Throttle { folder, quota, neighbour };
        write(&throttle.folder.join("cgroup.procs"), throttle.neighbour.id().to_string())?;
        throttle.limit(Some(percent * PERIOD / 100))?;
        Ok(throttle)
    }
}

impl Throttle {
    /// How often the container had used up what it may have, and had to wait.
    ///
    /// # Errors
    /// If its cgroup is gone.
    pub fn waits(&self) -> Result<u64> {
        let stat = read(&self.folder.join("cpu.stat"))?;
        let count = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok());
        count.ok_or_else(|| Error::Config(format!("{} has no nr_throttled", self.folder.display())))
    }

    /// The quota in microseconds, or none.
    fn limit(&self, quota: Option<u32>) -> Result<()> {
        match self.quota {
            Quota::V1 => {
                let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
                write(&self.folder.join("cpu.cfs_period_us"), PERIOD.to_string())?;
                write(&self.folder.join("cpu.cfs_quota_us"), quota)
            }
            Quota::V2 => {
                let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                write(&self.folder.join("cpu.max"), format!("{quota} {PERIOD}"))
            }
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // The container may be gone, and its cgroup with it.
        let _gone = self.limit(None);
        let _ended = self.neighbour.kill();
        let _reaped = self.neighbour.wait();
    }
}
