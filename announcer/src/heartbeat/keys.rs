//! The keys of the heartbeats, as the kubelet lays them down: a file for each, named by the key's id.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use foghorn_heartbeat::{Keys, KeysError};
use futures::{Stream, stream::unfold};
use tokio::time::sleep;
use tracing::{info, warn};

/// How often they are looked at; the kubelet itself is slower.
const LOOK: Duration = Duration::from_secs(5);

/// Why there are no keys to use.
#[derive(Debug, thiserror::Error)]
pub enum KeysFault {
    /// The folder or a file in it cannot be read.
    #[error(
        "{path} cannot be read: {source}; the announcer's Pod should have the plane's heartbeat Secret there"
    )]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file's name is no id of a key.
    #[error("{0}: the name of a heartbeat key is a number from 0 to 4294967295")]
    Name(PathBuf),
    /// The files are not the right ones.
    #[error("{folder}: {source}")]
    Keys {
        /// The folder.
        folder: PathBuf,
        /// The cause.
        source: KeysError,
    },
}

/// Reads the keys in a folder.
///
/// # Errors
/// If there are none, or what is there is none.
pub fn read(folder: &Path) -> Result<Keys, KeysFault> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| KeysFault::Unreadable { path, source }
    };
    let mut keys = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The kubelet's own, by which it changes all files at once.
        if name.starts_with("..") {
            continue;
        }
        let id = name.parse().map_err(|_| KeysFault::Name(path.clone()))?;
        keys.insert(id, fs::read(&path).map_err(unreadable(&path))?);
    }
    Keys::new(keys).map_err(|source| KeysFault::Keys { folder: folder.to_owned(), source })
}

/// The keys in a folder as they are now, then whenever they are others. What is wrong with them is logged, and those
/// before stay in use.
pub fn follow(folder: PathBuf) -> impl Stream<Item = Keys> {
    unfold((folder, None::<Keys>, None::<String>), async |(folder, before, mut fault)| {
        if before.is_some() {
            sleep(LOOK).await;
        }
        loop {
            match read(&folder) {
                Ok(keys) if before.as_ref() != Some(&keys) => {
                    info!(ids = ?keys.ids().collect::<Vec<_>>(), "heartbeat keys are in use");
                    return Some((keys.clone(), (folder, Some(keys), None)));
                }
                Ok(_) => fault = None,
                Err(error) => {
                    let text = Some(error.to_string());
                    if fault != text {
                        warn!(%error, "the heartbeat keys cannot be used");
                    }
                    fault = text;
                }
            }
            sleep(LOOK).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process};

    use futures::StreamExt;

    use super::*;

    #[test]
    fn keys_are_read_as_the_kubelet_lays_them_down() {
        let folder = Folder::new("read");
        folder.lay("..first", &[(1, 32), (2, 32)]);
        assert_eq!(read(&folder.0).unwrap().ids().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = Folder::new("named");
        assert_eq!(fault(&folder), format!("{}: there is no heartbeat key", folder.0.display()));
        folder.lay("..first", &[(1, 31)]);
        assert!(
            fault(&folder).ends_with("heartbeat key 1 has 31 octets: a key has 32"),
            "{}",
            fault(&folder)
        );
        fs::write(folder.0.join("first"), [7; 32]).unwrap();
        assert!(
            fault(&folder).contains("/first: the name of a heartbeat key is a number"),
            "{}",
            fault(&folder)
        );
        let nowhere = Folder(folder.0.join("nowhere"));
        assert!(fault(&nowhere).contains("nowhere cannot be read"), "{}", fault(&nowhere));
    }

    #[tokio::test(start_paused = true)]
    async fn other_keys_are_seen_and_faults_leave_those_before() {
        let folder = Folder::new("follow");
        folder.lay("..first", &[(1, 32)]);
        let mut keys = std::pin::pin!(follow(folder.0.clone()));
        let mut next = async || {
            let within = tokio::time::timeout(LOOK * 3, keys.next()).await;
            within.ok().map(|keys| keys.unwrap().ids().collect::<Vec<_>>())
        };
        assert_eq!(next().await, Some(vec![1]));
        assert_eq!(next().await, None, "nothing has changed");
        folder.lay("..second", &[(1, 32), (2, 31)]);
        assert_eq!(next().await, None, "a key is too short");
        folder.lay("..third", &[(1, 32), (2, 32)]);
        assert_eq!(next().await, Some(vec![1, 2]));
    }

    fn fault(folder: &Folder) -> String {
        read(&folder.0).unwrap_err().to_string()
    }

    /// A folder that ends with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("heartbeat-keys-{}-{name}", process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// Lays keys down: their ids, and of how many octets they are.
        fn lay(&self, version: &str, keys: &[(u32, usize)]) {
            fs::create_dir(self.0.join(version)).unwrap();
            let data = self.0.join("..data");
            let _ = fs::remove_file(&data);
            symlink(version, &data).unwrap();
            for (id, octets) in keys {
                fs::write(data.join(id.to_string()), vec![7; *octets]).unwrap();
                let _ = symlink(Path::new("..data").join(id.to_string()), self.0.join(id.to_string()));
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
