//! The cgroups of a host: all its processes are in them, so that they can be found, frozen and killed. cgroup v1 and v2.
//!
//! A host's cgroup is `foghorn-lab.<lab>.<host>`, in each hierarchy; its daemons live in the child `daemons` (cgroup v2 wants processes in
//! leaves only), a node's Pods in the child `kubepods`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    command::{create_dir, entries, read, write},
    error::{Error, Result},
    name::LabName,
    poll,
};

const MOUNT: &str = "/sys/fs/cgroup";
const DAEMONS: &str = "daemons";

/// The cgroup of one host.
#[derive(Clone, Debug)]
pub struct Cgroup {
    name: String,
    hierarchies: Hierarchies,
}

#[derive(Clone, Debug)]
enum Hierarchies {
    /// One folder a controller; where there is an empty v2 hierarchy beside them, that too: runc makes its cgroups in all of them.
    V1(Vec<PathBuf>),
    V2(PathBuf),
}

impl Hierarchies {
    fn find() -> Self {
        let unified = PathBuf::from(MOUNT);
        if unified.join("cgroup.controllers").exists() {
            return Self::V2(unified);
        }
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        Self::V1(mounts.lines().filter_map(mount_point).map(PathBuf::from).collect())
    }

    fn all(&self) -> &[PathBuf] {
        match self {
            Self::V1(controllers) => controllers,
            Self::V2(unified) => std::slice::from_ref(unified),
        }
    }

    /// The one whose membership counts.
    fn freezer(&self) -> PathBuf {
        match self {
            Self::V1(_) => Path::new(MOUNT).join("freezer"),
            Self::V2(unified) => unified.clone(),
        }
    }
}

fn mount_point(line: &str) -> Option<&str> {
    let mut fields = line.split(' ').skip(1);
    let (point, kind) = (fields.next()?, fields.next()?);
    kind.starts_with("cgroup").then_some(point)
}

/// The folder of the cgroup that a process is in, in the hierarchy with that controller.
pub(crate) fn of_process(pid: i32, controller: &str) -> Option<PathBuf> {
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    folder_in(&Hierarchies::find(), &lines, controller)
}

/// By the lines of `/proc/<pid>/cgroup`: number, controllers and path (cgroups(7)).
fn folder_in(hierarchies: &Hierarchies, lines: &str, controller: &str) -> Option<PathBuf> {
    lines.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let (is_it, mount) = match hierarchies {
            Hierarchies::V1(_) => {
                (controllers.split(',').any(|it| it == controller), Path::new(MOUNT).join(controller))
            }
            Hierarchies::V2(unified) => (controllers.is_empty(), unified.clone()),
        };
        Some(mount.join(path.strip_prefix('/')?)).filter(|_| is_it)
    })
}

impl Cgroup {
    /// That of a host, made or not, in the hierarchies that this system uses.
    #[must_use]
    pub fn of_host(lab: &LabName, host: &str) -> Self {
        Self { name: format!("{}{host}", prefix(lab)), hierarchies: Hierarchies::find() }
    }

    /// The same in the hierarchy of version 2, if there is one, even where the system uses version 1 and has it beside.
    #[must_use]
    pub fn in_version_2(self) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let unified = mounts.lines().find(|line| line.contains(" cgroup2 ")).and_then(mount_point)?;
        Some(Self { hierarchies: Hierarchies::V2(PathBuf::from(unified)), ..self })
    }

    /// The cgroups of all hosts of a lab, those of a crashed run included.
    pub(crate) fn of_lab(lab: &LabName) -> Vec<Self> {
        let hierarchies = Hierarchies::find();
        let mut names: Vec<_> = hierarchies.all().iter().flat_map(|folder| entries(folder)).collect();
        names.retain(|name| name.starts_with(&prefix(lab)));
        names.sort();
        names.dedup();
        names.into_iter().map(|name| Self { name, hierarchies: hierarchies.clone() }).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the cgroup, with all controllers that the system has.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(&self) -> Result<()> {
        match &self.hierarchies {
            Hierarchies::V1(controllers) => {
                for controller in controllers {
                    let folder = controller.join(&self.name);
                    create_dir(&folder)?;
                    // A new cpuset has no processor and no memory, and takes no process.
                    for seed in ["cpuset.cpus", "cpuset.mems"] {
                        if folder.join(seed).exists() {
                            write(&folder.join(seed), read(&controller.join(seed))?)?;
                        }
                    }
                }
            }
            Hierarchies::V2(unified) => {
                let folder = unified.join(&self.name);
                create_dir(&folder)?;
                for parent in [unified, &folder] {
                    for controller in read(&parent.join("cgroup.controllers"))?.split_whitespace() {
                        write(&parent.join("cgroup.subtree_control"), format!("+{controller}"))?;
                    }
                }
            }
        }
        create_dir(&self.freezer().join(DAEMONS))
    }

    /// Its directory in the hierarchy whose membership counts.
    #[must_use]
    pub fn freezer(&self) -> PathBuf {
        self.hierarchies.freezer().join(&self.name)
    }

    /// A process that writes its id to this file becomes a daemon of the host.
    #[must_use]
    pub fn procs_file(&self) -> PathBuf {
        self.freezer().join(DAEMONS).join("cgroup.procs")
    }

    /// All processes of the host, Pods included.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<_> = tree(&self.freezer())
            .iter()
            .flat_map(|folder| {
                let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Stops all processes of the host where they are, or lets them go on, and waits until it is so.
    ///
    /// # Errors
    /// If they do not stop, or go on, within ten seconds.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        match self.hierarchies {
            Hierarchies::V1(_) => {
                let state = if frozen { "FROZEN" } else { "THAWED" };
                let file = self.freezer().join("freezer.state");
                write(&file, state)?;
                poll::until(&format!("{} {state}", self.name), Duration::from_secs(10), || {
                    Ok((read(&file)?.trim() == state).then_some(()))
                })
            }
            Hierarchies::V2(_) => {
                write(&self.freezer().join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
                let wanted = format!("frozen {}", u8::from(frozen));
                poll::until(&format!("{} {wanted}", self.name), Duration::from_secs(10), || {
                    let events = read(&self.freezer().join("cgroup.events"))?;
                    Ok(events.lines().any(|line| line == wanted).then_some(()))
                })
            }
        }
    }

    /// Whether the processes are stopped by [`Self::freeze`].
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let read = |file| fs::read_to_string(self.freezer().join(file)).unwrap_or_default();
        match self.hierarchies {
            Hierarchies::V1(_) => read("freezer.state").trim() != "THAWED",
            Hierarchies::V2(_) => read("cgroup.freeze").trim() == "1",
        }
    }

    /// Kills all processes of the host and removes the cgroup. One that is not there is removed already.
    ///
    /// # Errors
    /// If a process does not end, or the system refuses.
    pub fn remove(&self) -> Result<()> {
        if self.freezer().exists() {
            poll::until(
                &format!("the end of the processes of {}", self.name),
                Duration::from_secs(20),
                || {
                    let pids = self.pids();
                    for pid in pids.iter().copied().filter_map(Pid::from_raw) {
                        // One that is gone is what was wanted.
                        let _gone = kill_process(pid, Signal::KILL);
                    }
                    // A frozen process dies only when it is let go (cgroup v1).
                    if self.is_frozen() {
                        self.freeze(false)?;
                    }
                    Ok(pids.is_empty().then_some(()))
                },
            )?;
        }
        for hierarchy in self.hierarchies.all() {
            for folder in tree(&hierarchy.join(&self.name)).iter().rev() {
                // The kernel may take a moment to let go of the last process.
                poll::until(&format!("removing {}", folder.display()), Duration::from_secs(5), || {
                    match fs::remove_dir(folder) {
                        Err(error) if folder.exists() => {
                            Err(Error::io(format!("removing {}", folder.display()))(error))
                        }
                        _ => Ok(Some(())),
                    }
                })?;
            }
        }
        Ok(())
    }
}

fn prefix(lab: &LabName) -> String {
    format!("foghorn-lab.{lab}.")
}

/// The folder and all below it, parents first; none if it is not there.
fn tree(folder: &Path) -> Vec<PathBuf> {
    if !folder.is_dir() {
        return Vec::new();
    }
    let below = entries(folder).into_iter().map(|name| folder.join(name)).filter(|path| path.is_dir());
    std::iter::once(folder.to_owned()).chain(below.flat_map(|path| tree(&path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_a_process_is_found_in_either_version() {
        let lines = "5:cpuset:/other\n4:cpu,cpuacct:/lab/pod/c1\n0::/unified\n";
        let v1 = Hierarchies::V1(Vec::new());
        let v2 = Hierarchies::V2(PathBuf::from("/mnt/cgroup"));
        assert_eq!(folder_in(&v1, lines, "cpu"), Some(Path::new(MOUNT).join("cpu/lab/pod/c1")));
        assert_eq!(folder_in(&v1, lines, "io"), None);
        assert_eq!(folder_in(&v2, lines, "cpu"), Some(PathBuf::from("/mnt/cgroup/unified")));
    }
}
