//! What has a name like a lab's, but was not made by it, stays.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use foghorn_lab::{Error, Host, Lab, LabName, leftovers, state_dir};

use crate::lab_name;

/// A network namespace that another program made, with a process in it.
struct Stranger {
    name: String,
    process: Child,
}

impl Stranger {
    fn new(name: String) -> Self {
        ip(&["netns", "add", &name]);
        let process = Command::new("ip").args(["netns", "exec", &name, "sleep", "60"]).spawn().unwrap();
        Self { name, process }
    }

    fn lives(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none() && netns(&self.name).exists()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
        ip(&["netns", "del", &self.name]);
    }
}

#[test]
fn a_namespace_of_a_strangers_with_a_labs_name_survives() {
    let lab = lab_name("alike");
    let own = Host::new(&lab, "w1");
    own.create().unwrap();
    let mut inside = own.spawn(&["sleep", "60"]).unwrap();
    // A host of the lab whose namespace was not made.
    fs::create_dir(state_dir(&lab).join("w2")).unwrap();
    let names = [format!("{lab}-w1"), format!("fhlab-{lab}-w2"), format!("fhlab-{lab}-sw")];
    let mut strangers = names.map(Stranger::new);
    Lab::down(&lab).unwrap();
    assert!(strangers.iter_mut().all(Stranger::lives));
    assert!(!inside.wait().unwrap().success() && !netns(&own.namespace()).exists());
    assert_eq!(leftovers(&lab).unwrap(), [""; 0]);
}

#[test]
fn a_lab_does_not_take_over_the_namespace_of_a_stranger() {
    let lab = lab_name("taken");
    let mut stranger = Stranger::new(format!("fhlab-{lab}-w1"));
    let error = Host::new(&lab, "w1").create().unwrap_err();
    assert!(matches!(&error, Error::NotOurs { path, .. } if *path == netns(&stranger.name)), "{error}");
    Lab::down(&lab).unwrap();
    assert!(stranger.lives());
}

#[test]
fn a_directory_that_no_lab_made_survives_and_nothing_ends() {
    let lab = lab_name("unmarked");
    let kept = state_dir(&lab).join("kept.txt");
    fs::create_dir_all(state_dir(&lab)).unwrap();
    fs::write(&kept, "").unwrap();
    let error = Lab::down(&lab).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert!(kept.exists());
    fs::remove_dir_all(state_dir(&lab)).unwrap();
}

#[test]
fn a_mount_in_a_labs_directory_survives() {
    let lab = lab_name("mounted");
    let host = Host::new(&lab, "w1");
    host.create().unwrap();
    let point = host.dir().join("data");
    fs::create_dir(&point).unwrap();
    run("mount", &["-t", "tmpfs", "data", &point.display().to_string()]);
    fs::write(point.join("kept.txt"), "").unwrap();
    let refused = Lab::down(&lab);
    let kept = point.join("kept.txt").exists();
    run("umount", &[&point.display().to_string()]);
    Lab::down(&lab).unwrap();
    assert!(matches!(refused, Err(Error::NotOurs { .. })) && kept);
}

/// Runs [`in_the_namespace_of_the_computer`] where a failure reaches no process but its own.
#[test]
fn the_computers_own_namespace_survives_a_record_that_names_it() {
    let lab = lab_name("record");
    Host::new(&lab, "w1").create().unwrap();
    let test = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation=private", "--net", "--pid", "--fork", "--mount-proc"])
        .arg(test)
        .args(["--exact", "strangers::in_the_namespace_of_the_computer", "--ignored", "--nocapture"])
        .env(LabName::VARIABLE, lab.as_str())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ip(&["netns", "del", &Host::new(&lab, "w1").namespace()]);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{output:?}");
}

#[test]
#[ignore = "another test runs it in namespaces of its own"]
fn in_the_namespace_of_the_computer() {
    assert_eq!(std::process::id(), 1, "this test is not for a namespace with other processes");
    let lab = LabName::from_environment().unwrap();
    let host = Host::new(&lab, "w1");
    let file = netns(&host.namespace());
    run("mount", &["--bind", "/proc/self/ns/net", &file.display().to_string()]);
    let own = fs::metadata(&file).unwrap();
    assert_eq!(own.ino(), fs::metadata("/proc/1/ns/net").unwrap().ino());
    fs::write(host.dir().join("netns"), format!("{} {}\n", own.dev(), own.ino())).unwrap();
    let mut neighbour = Command::new("sleep").arg("60").spawn().unwrap();
    Lab::down(&lab).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().ino(), own.ino());
    assert!(neighbour.try_wait().unwrap().is_none());
    neighbour.kill().and_then(|()| neighbour.wait()).unwrap();
}

fn netns(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

fn ip(args: &[&str]) {
    run("ip", args);
}

fn run(program: &str, args: &[&str]) {
    assert!(Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}
