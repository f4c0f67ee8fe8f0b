//! How an announcer goes on after a restart: by the API server, or while that is away by what it has written down.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_shell::api_clock::ApiClock;
use tracing::warn;

use crate::snapshot::{ApiMoment, Fact, Keeper, Snapshot};

/// The API server is given so long to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(2);
/// The API server's time is written down again when it is known so much better.
const DRIFT: Duration = Duration::from_millis(100);

/// What is written down, and what an earlier life has written down.
#[derive(Debug)]
pub struct Restart {
    keeper: Option<Keeper>,
    /// Where that is, until it is used or the API server has answered.
    written: Option<PathBuf>,
    /// When the API server has had its time to answer.
    due: Instant,
    /// Claims that only the files tell of.
    unconfirmed: BTreeSet<String>,
    moment: Option<ApiMoment>,
}

impl Restart {
    /// What is in the folder, if there is one. Without one that can be written to nothing is kept.
    #[must_use]
    pub fn new(folder: Option<&Path>, now: Instant) -> Self {
        let keeper = folder.and_then(|folder| {
            let keeper = Keeper::start(folder);
            keeper.inspect_err(|error| warn!(%error, "nothing is kept for a restart")).ok()
        });
        Self {
            keeper,
            written: folder.map(Path::to_owned),
            due: now + PATIENCE,
            unconfirmed: BTreeSet::new(),
            moment: None,
        }
    }

    /// Remembers that.
    pub fn keep(&self, fact: Fact) {
        if let Some(keeper) = &self.keeper {
            keeper.tell(fact);
        }
    }

    /// Remembers what the API server's clock reads, if that is not known yet.
    pub fn keep_time(&mut self, now: Instant, clock: &ApiClock) {
        let Some(time) = clock.timestamp(now) else { return };
        let moment = ApiMoment { at: now, time };
        let is_known = self.moment.is_some_and(|known| {
            let passed = now.saturating_since(known.at);
            let shown = Duration::try_from(time.duration_since(known.time)).unwrap_or_default();
            passed.abs_diff(shown) < DRIFT
        });
        if !is_known {
            self.moment = Some(moment);
            self.keep(Fact::Time(moment));
        }
    }

    /// How much longer the API server has to answer; nothing if that does not matter.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.written.as_ref().map(|_| self.due.saturating_since(now))
    }

    /// What was written down, once: if the API server has had its time, and has answered no request but by errors.
    pub fn take(&mut self, now: Instant, clock: &ApiClock) -> Option<Snapshot> {
        if clock.measured().is_some() {
            self.written = None;
        }
        let snapshot = Snapshot::read(&self.written.take_if(|_| now >= self.due)?)?;
        let names = snapshot.claims.iter().filter_map(|claim| claim.metadata.name.clone());
        self.unconfirmed = names.collect();
        Some(snapshot)
    }

    /// The API server has told of that claim.
    pub fn confirm(&mut self, claim: &str) {
        self.unconfirmed.remove(claim);
    }

    /// Claims that the API server, which has told of all, has not told of.
    pub fn gone(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unconfirmed)
    }
}
