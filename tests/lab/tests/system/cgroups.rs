//! The cgroups of a host.

use std::{fs, process::Command, thread};

use foghorn_lab::Cgroup;

use crate::lab_name;

#[test]
fn processes_freeze_and_end_with_their_cgroup_of_version_2() {
    freeze_and_remove(&Cgroup::of_host(&lab_name("v2"), "host").in_version_2().unwrap());
}

#[test]
fn processes_freeze_and_end_with_their_cgroup_of_this_system() {
    freeze_and_remove(&Cgroup::of_host(&lab_name("own"), "host"));
}

fn freeze_and_remove(cgroup: &Cgroup) {
    cgroup.create().unwrap();
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    fs::write(cgroup.procs_file(), pid.to_string()).unwrap();
    assert_eq!(cgroup.pids(), [pid]);
    cgroup.freeze(true).unwrap();
    assert!(cgroup.is_frozen());
    cgroup.freeze(false).unwrap();
    assert!(!cgroup.is_frozen());
    cgroup.freeze(true).unwrap();
    let reaper = thread::spawn(move || child.wait());
    cgroup.remove().unwrap();
    assert!(!reaper.join().unwrap().unwrap().success());
    assert!(!cgroup.freezer().exists());
}
