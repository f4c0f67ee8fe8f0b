//! The network namespaces of the hosts. A host's directory has the identity of its namespace: no other is a lab's, whatever its name.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    command::{command, entries, read, remove_file, run, write},
    error::{Error, Result},
    lab_dir::state_dir,
    name::LabName,
};

/// Where iproute2 keeps its network namespaces.
pub(crate) const NETNS: &str = "/run/netns";
/// What the names of all labs' namespaces begin with.
const PREFIX: &str = "fhlab";
/// The file in a host's directory with the identity of its namespace.
const RECORD: &str = "netns";

/// What the kernel knows a namespace by (namespaces(7)): device and inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the namespace that this file stands for.
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    fn parse(text: &str) -> Option<Self> {
        let (device, inode) = text.trim().split_once(' ')?;
        Some(Self { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

/// The network namespace of a host, made or not.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    file: PathBuf,
    record: PathBuf,
}

impl Namespace {
    pub(crate) fn of_host(lab: &LabName, host: &str) -> Self {
        Self::at(Path::new(NETNS), &state_dir(lab), lab, host)
    }

    fn at(netns: &Path, lab_dir: &Path, lab: &LabName, host: &str) -> Self {
        Self { file: netns.join(format!("{PREFIX}-{lab}-{host}")), record: lab_dir.join(host).join(RECORD) }
    }

    /// Those that a lab has made, and that are still there.
    pub(crate) fn of_lab(lab: &LabName) -> Vec<Self> {
        Self::made(Path::new(NETNS), &state_dir(lab), lab, &computers_own())
    }

    fn made(netns: &Path, lab_dir: &Path, lab: &LabName, kept: &[Identity]) -> Vec<Self> {
        let hosts = entries(lab_dir).into_iter().map(|host| Self::at(netns, lab_dir, lab, &host));
        hosts.filter(|namespace| namespace.identity(kept).is_some()).collect()
    }

    /// E.g. `fhlab-foghorn-w1`.
    pub(crate) fn name(&self) -> String {
        self.file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Makes it and notes its identity. An error if there is one of that name.
    pub(crate) fn create(&self) -> Result<()> {
        if self.file.exists() {
            let name = self.name();
            let why = format!(
                "the lab did not make it; `ip netns del {name}` removes it, another name of the lab avoids it"
            );
            return Err(Error::NotOurs { path: self.file.clone(), why });
        }
        run(&mut command(&["ip", "netns", "add", &self.name()]))?;
        let Identity { device, inode } = Identity::of(&self.file).ok_or_else(|| {
            let why = "it went away at once".to_owned();
            Error::Malformed { what: self.file.display().to_string(), why }
        })?;
        write(&self.record, format!("{device} {inode}\n"))
    }

    /// Deletes it if the lab made it. One that is not there is deleted already.
    pub(crate) fn delete(&self) -> Result<()> {
        if self.identity(&computers_own()).is_some() {
            run(&mut command(&["ip", "netns", "del", &self.name()]))?;
        }
        remove_file(&self.record)
    }

    /// The processes in any of these that the lab made.
    pub(crate) fn processes(namespaces: &[Self]) -> Vec<i32> {
        let kept = computers_own();
        let ours: Vec<_> = namespaces.iter().filter_map(|namespace| namespace.identity(&kept)).collect();
        let pids = entries(Path::new("/proc")).into_iter().filter_map(|entry| entry.parse::<i32>().ok());
        let of = |pid: &i32| Identity::of(Path::new(&format!("/proc/{pid}/ns/net")));
        pids.filter(|pid| of(pid).is_some_and(|identity| ours.contains(&identity))).collect()
    }

    /// What it is, if it is there, the lab made it, and it is none of those that are `kept` in any case.
    fn identity(&self, kept: &[Identity]) -> Option<Identity> {
        let made = Identity::parse(&read(&self.record).ok()?)?;
        Identity::of(&self.file).filter(|is| *is == made && !kept.contains(is))
    }
}

/// The namespaces of the computer's first process and of this one: no record makes them a lab's.
fn computers_own() -> Vec<Identity> {
    ["/proc/1/ns/net", "/proc/self/ns/net"].iter().filter_map(|file| Identity::of(Path::new(file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary files in a directory that takes the place of `/run/netns`.
    struct Files(PathBuf);

    impl Files {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("foghorn-netns-{test}-{}", std::process::id()));
            fs::create_dir_all(path.join("netns")).unwrap();
            Self(path)
        }

        /// A namespace of that name, with a host's record of `recorded`, if any.
        fn put(&self, name: &str, host: &str, recorded: Option<&str>) -> Identity {
            write(&self.0.join("netns").join(name), "").unwrap();
            let record = |text: &str| write(&self.0.join("lab").join(host).join(RECORD), text).unwrap();
            recorded.into_iter().for_each(record);
            Identity::of(&self.0.join("netns").join(name)).unwrap()
        }

        fn put_recorded(&self, name: &str, host: &str) -> Identity {
            let identity = self.put(name, host, None);
            self.put(name, host, Some(&format!("{} {}\n", identity.device, identity.inode)))
        }

        fn made(&self, kept: &[Identity]) -> Vec<String> {
            let lab = "test".parse().unwrap();
            let made = Namespace::made(&self.0.join("netns"), &self.0.join("lab"), &lab, kept);
            made.iter().map(Namespace::name).collect()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_namespace_is_a_labs_by_its_recorded_identity() {
        let files = Files::new("recorded");
        files.put_recorded("fhlab-test-w1", "w1");
        assert_eq!(files.made(&[]), ["fhlab-test-w1"]);
    }

    #[test]
    fn a_namespace_is_not_a_labs_by_its_name() {
        let files = Files::new("named");
        files.put("test-w1", "w1", None);
        files.put("fhlab-test-w1", "w1", None);
        files.put("fhlab-test-w2", "w2", Some("4 4026531840\n"));
        files.put("fhlab-test-w3", "w3", Some(""));
        assert!(files.made(&[]).is_empty());
    }

    #[test]
    fn the_computers_own_namespace_is_never_a_labs() {
        let files = Files::new("own");
        let own = files.put_recorded("fhlab-test-w1", "w1");
        assert!(files.made(&[own]).is_empty());
    }

    #[test]
    fn the_namespace_of_this_process_is_among_those_that_are_kept() {
        assert!(computers_own().contains(&Identity::of(Path::new("/proc/self/ns/net")).unwrap()));
    }
}
