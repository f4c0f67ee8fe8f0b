//! What an announcer needs after a restart while the API server is away, in files of its Pod's volume.
//!
//! The files are what the API server said last, and what this announcer has told it or would have: the configuration, the
//! view, the time, and a file for each claim, so that a change costs a small write. Once the API server answers they
//! count for nothing. A thread of its own writes them: no disk keeps the rest waiting.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write as _},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, PlaneConfig};
use foghorn_membership::{ClaimId, Epoch, View};
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::warn;

use crate::claim_id::claim_id;

const CONFIG: &str = "config.json";
const VIEW: &str = "view.json";
const TIME: &str = "time.json";
const CLAIMS: &str = "claims";
/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(10);
/// Another one after each start of the kernel, with which local instants begin anew.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why nothing can be written down.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The folder.
    #[error("folder {folder} for what is needed after a restart cannot be made: {source}")]
    Folder {
        /// Its path.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread.
    #[error("what is needed after a restart has no thread to be written by: {0}")]
    Thread(io::Error),
}

/// Something to remember.
#[derive(Debug)]
pub enum Fact {
    /// The plane's configuration.
    Config(Box<PlaneConfig>),
    /// A claim.
    Claim(Arc<AddressClaim>),
    /// The claim of that name is no more.
    ClaimGone(String),
    /// All claims that there are have been told.
    ClaimsComplete,
    /// A view is in force.
    View(View),
    /// What the API server's clock read.
    Time(ApiMoment),
}

/// What the API server's clock read at an instant of this node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiMoment {
    /// This node's clock.
    pub at: Instant,
    /// The API server's.
    pub time: Timestamp,
}

/// What was remembered.
#[derive(Debug)]
pub struct Snapshot {
    /// The plane's configuration.
    pub config: PlaneConfig,
    /// The plane's claims.
    pub claims: Vec<AddressClaim>,
    /// The newest view of the Lease, and the greatest epoch.
    pub view: Option<(View, Epoch)>,
    /// What the API server's clock read, if the kernel still is the same.
    pub time: Option<ApiMoment>,
}

impl Snapshot {
    /// What is in the folder. Nothing without a configuration; files that cannot be read are passed over.
    #[must_use]
    pub fn read(folder: &Path) -> Option<Self> {
        let files = fs::read_dir(folder.join(CLAIMS)).into_iter().flatten().flatten();
        Some(Self {
            config: read(&folder.join(CONFIG))?,
            claims: files.filter_map(|file| read(&file.path())).collect(),
            view: read::<Views>(&folder.join(VIEW)).and_then(|views| views.read()),
            time: read::<Time>(&folder.join(TIME)).and_then(Time::read),
        })
    }
}

/// Writes down what it is told.
#[derive(Debug)]
pub struct Keeper(mpsc::Sender<Fact>);

impl Keeper {
    /// Writes to files of that folder, which is made if need be.
    ///
    /// # Errors
    /// If there is no folder or no thread to be had.
    pub fn start(folder: &Path) -> Result<Self, SnapshotError> {
        let claims = folder.join(CLAIMS);
        fs::create_dir_all(&claims).map_err(|source| SnapshotError::Folder { folder: claims, source })?;
        let (sender, facts) = mpsc::channel();
        let mut files = Files::of(folder);
        let run = move || {
            while let Some(fact) = files.wait(&facts) {
                // What came meanwhile of the same object is written once.
                fact.into_iter().chain(facts.try_iter()).for_each(|fact| files.take(fact));
                files.flush();
            }
        };
        thread::Builder::new().name("snapshot".to_owned()).spawn(run).map_err(SnapshotError::Thread)?;
        Ok(Self(sender))
    }

    /// Remembers that.
    pub fn tell(&self, fact: Fact) {
        // The thread ends with its sender.
        drop(self.0.send(fact));
    }
}

/// The files, as they were written.
#[derive(Debug, Default)]
struct Files {
    folder: PathBuf,
    views: Option<Views>,
    claims: BTreeMap<String, ClaimId>,
    /// What is still to be written.
    waiting: BTreeMap<PathBuf, Vec<u8>>,
    /// Digests of what is in the files.
    written: BTreeMap<PathBuf, u64>,
    failed: bool,
}

impl Files {
    /// Those of a folder. A view without the API server is built on one of the Lease that an earlier life may have seen.
    fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), views: read(&folder.join(VIEW)), ..Self::default() }
    }

    /// Waits for the next fact; for some time only, while something could not be written. Nothing once there are no more.
    fn wait(&self, facts: &mpsc::Receiver<Fact>) -> Option<Option<Fact>> {
        if self.waiting.is_empty() {
            return facts.recv().ok().map(Some);
        }
        match facts.recv_timeout(RETRY) {
            Ok(fact) => Some(Some(fact)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Config(config) => self.want(CONFIG.into(), &config),
            Fact::View(view) => {
                let views = Views::after(self.views.take(), &view);
                self.want(VIEW.into(), &views);
                self.views = Some(views);
            }
            Fact::Time(moment) => {
                if let Some(time) = Time::of(moment) {
                    self.want(TIME.into(), &time);
                }
            }
            Fact::Claim(claim) => {
                let (Some(name), Some(id)) = (&claim.metadata.name, claim_id(&claim)) else { return };
                let before = self.claims.insert(name.clone(), id).filter(|before| *before != id);
                self.remove(before);
                self.want(claim_file(id), &*claim);
            }
            Fact::ClaimGone(name) => {
                let gone = self.claims.remove(&name);
                self.remove(gone);
            }
            Fact::ClaimsComplete => self.remove_strangers(),
        }
    }

    /// Removes files of claims that went while nobody looked.
    fn remove_strangers(&mut self) {
        let known: BTreeSet<PathBuf> =
            self.claims.values().map(|id| self.folder.join(claim_file(*id))).collect();
        for file in fs::read_dir(self.folder.join(CLAIMS)).into_iter().flatten().flatten() {
            if !known.contains(&file.path()) {
                drop(fs::remove_file(file.path()));
            }
        }
    }

    fn remove(&mut self, claim: Option<ClaimId>) {
        let Some(file) = claim.map(claim_file) else { return };
        self.waiting.remove(&file);
        self.written.remove(&file);
        drop(fs::remove_file(self.folder.join(file)));
    }

    /// A file is to have that content.
    fn want(&mut self, file: PathBuf, content: &impl Serialize) {
        if let Ok(text) = serde_json::to_vec(content) {
            self.waiting.insert(file, text);
        }
    }

    /// Writes the files that say something new. What fails stays to be written.
    fn flush(&mut self) {
        let before = self.waiting.len();
        for (file, text) in mem::take(&mut self.waiting) {
            let digest = digest(&text);
            if self.written.get(&file) == Some(&digest) {
                continue;
            }
            let path = self.folder.join(&file);
            match write(&path, &text) {
                Ok(()) => {
                    self.written.insert(file, digest);
                }
                Err(error) => {
                    if !self.failed {
                        warn!(%error, file = %path.display(), "writing what a restart needs failed, trying again");
                    }
                    self.failed = true;
                    self.waiting.insert(file, text);
                }
            }
        }
        self.failed &= !self.waiting.is_empty();
        // A name that is lost in a power cut leaves what was there before: this makes that rare, and may fail.
        if before > self.waiting.len() {
            for folder in [self.folder.clone(), self.folder.join(CLAIMS)] {
                drop(File::open(folder).and_then(|folder| folder.sync_all()));
            }
        }
    }
}

/// Writes a file whole or not at all, also if the power is cut.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)
}

fn digest(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn claim_file(id: ClaimId) -> PathBuf {
    Path::new(CLAIMS).join(format!("{:016x}.json", id.0))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = fs::read(path).ok()?;
    let content = serde_json::from_slice(&text);
    content.inspect_err(|error| warn!(%error, file = %path.display(), "passed over")).ok()
}

/// The newest view of the Lease, and the greatest epoch that is built on it.
#[derive(Serialize, Deserialize, Clone, Debug)]
struct Views {
    created: i64,
    view: u32,
    quorum: u32,
    /// As the Lease has it; none while only views without the API server are known.
    annotation: Option<String>,
}

impl Views {
    fn after(before: Option<Self>, view: &View) -> Self {
        let Epoch { created, view: number, quorum } = view.epoch;
        let base = before.filter(|before| (before.created, before.view) == (created, number));
        let annotation =
            if quorum == 0 { Some(view.annotation()) } else { base.and_then(|base| base.annotation) };
        Self { created, view: number, quorum, annotation }
    }

    fn read(&self) -> Option<(View, Epoch)> {
        let base = Epoch { created: self.created, view: self.view, quorum: 0 };
        let view = View::from_annotation(base, self.annotation.as_deref()?)?;
        Some((view, Epoch { quorum: self.quorum, ..base }))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Time {
    boot: String,
    since_boot: Duration,
    time: Timestamp,
}

impl Time {
    fn of(ApiMoment { at, time }: ApiMoment) -> Option<Self> {
        Some(Self { boot: boot_id()?, since_boot: at.since_boot(), time })
    }

    fn read(self) -> Option<ApiMoment> {
        let same = boot_id()? == self.boot;
        same.then(|| ApiMoment { at: Instant::from_boot(self.since_boot), time: self.time })
    }
}

fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use foghorn_crds::fixtures::{self, config};
    use foghorn_membership::{MemberId, Seat};

    use super::*;

    #[test]
    fn what_was_told_is_there_after_a_restart() {
        let folder = Folder::new("told");
        let moment =
            ApiMoment { at: Instant::from_boot(Duration::from_millis(77)), time: Timestamp::UNIX_EPOCH };
        let mut files = files(&folder);
        files.keep(Fact::Config(Box::new(config())));
        files.keep(Fact::Claim(Arc::new(claim("a", "1"))));
        files.keep(Fact::Claim(Arc::new(claim("b", "2"))));
        files.keep(Fact::Time(moment));
        files.keep(Fact::View(view(3, 0)));
        files.keep(Fact::View(view(3, 1)));
        let snapshot = Snapshot::read(&folder.0).unwrap();
        assert_eq!(snapshot.config, config());
        assert_eq!(names(&snapshot), ["a", "b"]);
        assert_eq!(snapshot.time, Some(moment));
        assert_eq!(snapshot.view, Some((view(3, 0), Epoch { created: 1, view: 3, quorum: 1 })));
    }

    #[test]
    fn claims_that_are_gone_or_were_made_again_leave_nothing() {
        let folder = Folder::new("gone");
        let mut earlier = files(&folder);
        earlier.keep(Fact::Config(Box::new(config())));
        for (name, uid) in [("a", "1"), ("b", "2"), ("c", "3")] {
            earlier.keep(Fact::Claim(Arc::new(claim(name, uid))));
        }
        earlier.keep(Fact::ClaimGone("a".into()));
        assert_eq!(names(&Snapshot::read(&folder.0).unwrap()), ["b", "c"]);
        let mut later = files(&folder);
        later.keep(Fact::Claim(Arc::new(claim("b", "2"))));
        later.keep(Fact::Claim(Arc::new(claim("b", "4"))));
        later.keep(Fact::ClaimsComplete);
        let snapshot = Snapshot::read(&folder.0).unwrap();
        assert_eq!((names(&snapshot), snapshot.claims[0].metadata.uid.as_deref()), (vec!["b"], Some("4")));
    }

    #[test]
    fn what_says_nothing_new_is_not_written() {
        let folder = Folder::new("same");
        let mut files = files(&folder);
        files.keep(Fact::Claim(Arc::new(claim("a", "1"))));
        let path = folder.0.join(claim_file(claim_id(&claim("a", "1")).unwrap()));
        fs::remove_file(&path).unwrap();
        files.keep(Fact::Claim(Arc::new(claim("a", "1"))));
        assert!(!path.exists());
        let mut changed = claim("a", "1");
        changed.metadata.resource_version = Some("9".into());
        files.keep(Fact::Claim(Arc::new(changed)));
        assert!(path.exists());
    }

    #[test]
    fn a_second_restart_without_api_server_still_knows_the_view_of_the_lease() {
        let folder = Folder::new("again");
        let mut first = files(&folder);
        first.keep(Fact::Config(Box::new(config())));
        first.keep(Fact::View(view(3, 0)));
        for quorum in [1, 2] {
            files(&folder).keep(Fact::View(view(3, quorum)));
            let (base, highest) = Snapshot::read(&folder.0).unwrap().view.unwrap();
            assert_eq!((base, highest), (view(3, 0), Epoch { created: 1, view: 3, quorum }));
        }
    }

    #[test]
    fn what_could_not_be_written_is_written_later() {
        let folder = Folder::new("later");
        let mut files = files(&folder);
        files.keep(Fact::Config(Box::new(config())));
        fs::remove_dir(folder.0.join(CLAIMS)).unwrap();
        files.keep(Fact::Claim(Arc::new(claim("a", "1"))));
        files.keep(Fact::Claim(Arc::new(claim("b", "2"))));
        files.keep(Fact::ClaimGone("b".into()));
        fs::create_dir(folder.0.join(CLAIMS)).unwrap();
        files.flush();
        assert_eq!(names(&Snapshot::read(&folder.0).unwrap()), ["a"]);
        assert!(files.waiting.is_empty());
    }

    #[test]
    fn files_that_cannot_be_read_are_passed_over() {
        let folder = Folder::new("broken");
        assert!(Snapshot::read(&folder.0).is_none());
        let mut files = files(&folder);
        files.keep(Fact::Config(Box::new(config())));
        files.keep(Fact::Claim(Arc::new(claim("a", "1"))));
        for file in [VIEW, TIME, "claims/0.json"] {
            fs::write(folder.0.join(file), "{").unwrap();
        }
        let snapshot = Snapshot::read(&folder.0).unwrap();
        assert_eq!(names(&snapshot), ["a"]);
        assert_eq!((snapshot.view, snapshot.time), (None, None));
    }

    #[test]
    fn views_without_the_api_server_are_of_no_use_without_the_one_that_they_are_built_on() {
        let views = Views::after(Some(Views::after(None, &view(3, 0))), &view(4, 1));
        assert_eq!(views.read(), None);
    }

    /// A folder that goes with its test.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("foghorn-snapshot-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join(CLAIMS)).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    /// A folder in which these facts are written down.
    pub(crate) fn written(name: &str, facts: impl IntoIterator<Item = Fact>) -> Folder {
        let folder = Folder::new(name);
        let mut files = files(&folder);
        facts.into_iter().for_each(|fact| files.keep(fact));
        folder
    }

    fn files(folder: &Folder) -> Files {
        Files::of(&folder.0)
    }

    impl Files {
        fn keep(&mut self, fact: Fact) {
            self.take(fact);
            self.flush();
        }
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        let mut names: Vec<_> =
            snapshot.claims.iter().filter_map(|claim| claim.metadata.name.as_deref()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn claim(name: &str, uid: &str) -> AddressClaim {
        let mut claim = fixtures::claim(name);
        claim.metadata.uid = Some(uid.into());
        claim
    }

    fn view(number: u32, quorum: u32) -> View {
        let seat = Seat { id: MemberId(7), node: "w1".into(), address: None };
        View {
            epoch: Epoch { created: 1, view: number, quorum },
            coordinator: MemberId(7),
            seats: vec![seat],
        }
    }
}
