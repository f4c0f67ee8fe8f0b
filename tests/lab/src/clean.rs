//! Ending a lab, and finding what is left of one.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::{
    cgroup::Cgroup,
    command::{command, entries, remove_dir, run},
    error::Result,
    host::NETNS,
    lab::{STATE, state_dir},
    network, poll, topology,
};

/// All that is there of a lab, one thing a line; nothing after [`Lab::down`](crate::Lab::down).
///
/// # Errors
/// If the processes cannot be listed.
pub fn leftovers(name: &str) -> Result<Vec<String>> {
    let mut left: Vec<_> = namespaces(name).iter().map(|name| format!("network namespace {name}")).collect();
    for cgroup in Cgroup::of_lab(name) {
        left.push(format!("cgroup {}", cgroup.name()));
        left.extend(cgroup.pids().iter().map(|pid| format!("process {}", described(*pid))));
    }
    left.extend(processes_in_namespaces(name).iter().map(|pid| format!("process {}", described(*pid))));
    let dir = state_dir(name);
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    left.extend(
        points.filter(|point| Path::new(point).starts_with(&dir)).map(|point| format!("mount {point}")),
    );
    if dir.exists() {
        left.push(format!("folder {}", dir.display()));
    }
    Ok(left)
}

/// Removes all that is there of a lab: only what carries its name, runs in its cgroups or in its network namespaces.
pub(crate) fn remove(name: &str) -> Result<()> {
    for cgroup in Cgroup::of_lab(name) {
        cgroup.remove()?;
    }
    // Commands that someone runs on a host.
    poll::until("the end of the processes in the lab's namespaces", Duration::from_secs(10), || {
        let pids = processes_in_namespaces(name);
        for pid in pids.iter().copied().filter_map(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::KILL);
        }
        Ok(pids.is_empty().then_some(()))
    })?;
    for namespace in namespaces(name) {
        network::delete_namespace(&namespace)?;
    }
    if entries(Path::new(NETNS)).is_empty() {
        // Made by the first namespace of the machine. It is in use if another one has come by now.
        let _in_use = run(&mut command(&["umount", NETNS]));
    }
    remove_dir(&state_dir(name))?;
    // Other labs may be in it.
    let _others = fs::remove_dir(STATE);
    Ok(())
}

/// Those of the hosts that any lab may have, and of those that have a folder.
fn namespaces(name: &str) -> Vec<String> {
    let dir = state_dir(name);
    let is_ours = |file: &String| {
        let host = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
        host.is_some_and(|host| topology::is_host_name(host) || dir.join(host).is_dir())
    };
    entries(Path::new(NETNS)).into_iter().filter(is_ours).collect()
}

fn processes_in_namespaces(name: &str) -> Vec<i32> {
    let inode = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.ino());
    let ours: Vec<_> =
        namespaces(name).iter().filter_map(|file| inode(&Path::new(NETNS).join(file))).collect();
    let pids = entries(Path::new("/proc")).into_iter().filter_map(|entry| entry.parse::<i32>().ok());
    let in_ours = |pid: &i32| {
        inode(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|inode| ours.contains(&inode))
    };
    pids.filter(|pid| *pid != getpid().as_raw_nonzero().get()).filter(in_ours).collect()
}

fn described(pid: i32) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {}", line.replace('\0', " ").trim())
}
