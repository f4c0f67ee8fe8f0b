//! Ending a lab, and finding what is left of one.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cgroup::Cgroup,
    command::{command, entries, run},
    error::Result,
    lab_dir::LabDir,
    name::LabName,
    namespace::{NETNS, Namespace},
    poll,
};

/// All that is there of a lab, one thing a line; nothing after [`Lab::down`](crate::Lab::down).
///
/// # Errors
/// If the processes cannot be listed.
pub fn leftovers(name: &LabName) -> Result<Vec<String>> {
    let namespaces = Namespace::of_lab(name);
    let mut left: Vec<_> = namespaces.iter().map(|it| format!("network namespace {}", it.name())).collect();
    for cgroup in Cgroup::of_lab(name) {
        left.push(format!("cgroup {}", cgroup.name()));
        left.extend(cgroup.pids().iter().map(|pid| format!("process {}", described(*pid))));
    }
    left.extend(Namespace::processes(&namespaces).iter().map(|pid| format!("process {}", described(*pid))));
    let dir = LabDir::of(name);
    left.extend(dir.mounts().iter().map(|point| format!("mount {point}")));
    if dir.path().exists() {
        left.push(format!("directory {}", dir.path().display()));
    }
    Ok(left)
}

/// Removes all that is there of a lab: its cgroups with their processes, the network namespaces that its hosts have recorded,
/// with the processes in them, and its directory.
pub(crate) fn remove(name: &LabName) -> Result<()> {
    let dir = LabDir::of(name);
    // Nothing ends if the directory is not a lab's.
    dir.is_there()?;
    for cgroup in Cgroup::of_lab(name) {
        cgroup.remove()?;
    }
    let namespaces = Namespace::of_lab(name);
    // Commands that someone runs on a host.
    poll::until("the end of the processes in the lab's namespaces", Duration::from_secs(10), || {
        let pids = Namespace::processes(&namespaces);
        for pid in pids.iter().copied().filter_map(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        Ok(pids.is_empty().then_some(()))
    })?;
    namespaces.iter().try_for_each(Namespace::delete)?;
    if entries(Path::new(NETNS)).is_empty() {
        // Made by the first namespace of the machine. It is in use if another one has come by now.
        let _in_use = run(&mut command(&["umount", NETNS]));
    }
    dir.remove()
}

fn described(pid: i32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", line.replace('\0', " ").trim())
}
