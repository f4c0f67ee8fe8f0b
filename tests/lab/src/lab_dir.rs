//! The directory of a lab. It gets a mark when it is made, and nothing without that mark is removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    command::{create_dir, entries, remove_dir, remove_file, write},
    error::{Error, Result},
    name::LabName,
};

/// The directory of all labs.
const LABS: &str = "/var/lib/foghorn-lab";
/// The file that says whose directory it is.
const MARK: &str = "made-by-foghorn-lab";
/// What to do about something in the place of a lab's directory.
const REMEDY: &str = "move it away, or give the lab another name";
/// What a lab that is up has in its directory.
pub(crate) const LAB_FILE: &str = "lab.json";

/// Where a lab keeps its configuration, logs and the nodes' file systems. Short: a socket's path has at most 107 bytes.
#[must_use]
pub fn state_dir(name: &LabName) -> PathBuf {
    LabDir::of(name).path
}

/// The names of all labs that have a directory.
#[must_use]
pub fn labs() -> Vec<LabName> {
    entries(Path::new(LABS)).iter().filter_map(|name| name.parse().ok()).collect()
}

/// The directory of a lab, made or not.
#[derive(Clone, Debug)]
pub(crate) struct LabDir {
    labs: PathBuf,
    path: PathBuf,
}

impl LabDir {
    pub(crate) fn of(name: &LabName) -> Self {
        Self::below(Path::new(LABS), name)
    }

    fn below(labs: &Path, name: &LabName) -> Self {
        Self { labs: labs.to_owned(), path: labs.join(name.as_str()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it with its mark. One that is there already has to be a lab's.
    pub(crate) fn create(&self) -> Result<()> {
        if self.is_there()? {
            return Ok(());
        }
        create_dir(&self.path)?;
        let what = "A lab of Foghorn made this directory; `cargo xtask lab down` removes it with all that is in it.\n";
        write(&self.path.join(MARK), what)
    }

    /// Whether it is there. An error if something else is there, or if removing it would remove more than the lab.
    pub(crate) fn is_there(&self) -> Result<bool> {
        let kind = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata.map_err(Error::io(format!("looking at {}", self.path.display())))?,
        };
        let refused = |why: &str| Err(Error::NotOurs { path: self.path.clone(), why: why.to_owned() });
        if !kind.is_dir() {
            return refused(&format!("it is a symbolic link or a file, not a directory; {REMEDY}"));
        }
        let is_file = |name| fs::symlink_metadata(self.path.join(name)).is_ok_and(|it| it.is_file());
        // An empty one is a lab's that was killed before it could write the mark.
        if ![MARK, LAB_FILE].into_iter().any(is_file) && !entries(&self.path).is_empty() {
            return refused(&format!(
                "no lab made it, since there is neither {MARK} nor {LAB_FILE} in it; {REMEDY}"
            ));
        }
        match self.mounts().first() {
            Some(mount) => refused(&format!("{mount} is a mount; unmount it first")),
            None => Ok(true),
        }
    }

    /// Removes it with all that is in it, the mark last: what a removal leaves that is killed can be removed by the next one.
    pub(crate) fn remove(&self) -> Result<()> {
        if self.is_there()? {
            for name in entries(&self.path).iter().filter(|name| *name != MARK) {
                let path = self.path.join(name);
                if fs::symlink_metadata(&path).is_ok_and(|it| it.is_dir()) {
                    remove_dir(&path)?;
                } else {
                    remove_file(&path)?;
                }
            }
            remove_dir(&self.path)?;
        }
        // Other labs may be in it.
        let _others = fs::remove_dir(&self.labs);
        Ok(())
    }

    /// The mounts in it, and on it.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.filter(|point| Path::new(point).starts_with(&self.path)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of labs, and the directory of the lab `one`, not yet made.
    struct Labs {
        path: PathBuf,
        one: LabDir,
    }

    impl Labs {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("foghorn-lab-{test}-{}", std::process::id()));
            fs::create_dir_all(path.join("labs")).unwrap();
            let one = LabDir::below(&path.join("labs"), &"one".parse().unwrap());
            Self { path, one }
        }

        fn refuses(&self, why: &str) {
            for refused in [self.one.remove(), self.one.create()] {
                let error = refused.unwrap_err();
                assert!(matches!(&error, Error::NotOurs { path, .. } if *path == self.one.path), "{error}");
                assert!(error.to_string().contains(why), "{error}");
            }
        }
    }

    impl Drop for Labs {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.path).unwrap();
        }
    }

    #[test]
    fn a_directory_that_was_made_is_removed_with_all_that_is_in_it() {
        let labs = Labs::new("made");
        labs.one.create().unwrap();
        labs.one.create().unwrap();
        fs::create_dir_all(labs.one.path().join("w1/var")).unwrap();
        assert!(labs.one.is_there().unwrap());
        labs.one.remove().unwrap();
        assert!(!labs.one.path().exists() && !labs.one.labs.exists());
        labs.one.remove().unwrap();
    }

    #[test]
    fn the_directory_of_another_lab_stays() {
        let labs = Labs::new("another");
        let two = LabDir::below(&labs.one.labs, &"two".parse().unwrap());
        [&labs.one, &two].into_iter().for_each(|lab| lab.create().unwrap());
        labs.one.remove().unwrap();
        assert!(two.is_there().unwrap());
    }

    #[test]
    fn a_directory_without_a_mark_stays() {
        let labs = Labs::new("unmarked");
        let kept = labs.one.path().join("thesis.txt");
        fs::create_dir_all(labs.one.path()).unwrap();
        fs::write(&kept, "five years of work").unwrap();
        labs.refuses("no lab made it");
        assert!(kept.exists());
    }

    #[test]
    fn a_directory_whose_mark_is_a_symbolic_link_stays() {
        let labs = Labs::new("linked-mark");
        fs::create_dir_all(labs.one.path()).unwrap();
        symlink("/etc/passwd", labs.one.path().join(MARK)).unwrap();
        labs.refuses("no lab made it");
    }

    #[test]
    fn a_symbolic_link_and_what_it_leads_to_stay() {
        let labs = Labs::new("linked");
        let two = LabDir::below(&labs.one.labs, &"two".parse().unwrap());
        two.create().unwrap();
        symlink(two.path(), labs.one.path()).unwrap();
        labs.refuses("a symbolic link");
        assert!(two.is_there().unwrap() && labs.one.path().is_symlink());
    }

    #[test]
    fn a_lab_of_an_earlier_version_has_its_configuration_for_a_mark() {
        let labs = Labs::new("earlier");
        write(&labs.one.path().join(LAB_FILE), "{}").unwrap();
        labs.one.remove().unwrap();
        assert!(!labs.one.path().exists());
    }

    #[test]
    fn a_directory_of_a_lab_that_was_killed_at_once_is_removed() {
        let labs = Labs::new("killed");
        fs::create_dir_all(labs.one.path()).unwrap();
        labs.one.remove().unwrap();
        assert!(!labs.one.path().exists());
    }
}
