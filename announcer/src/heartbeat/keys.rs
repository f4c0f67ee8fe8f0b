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
