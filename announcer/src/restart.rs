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

/// The API server is given so long to tell of the configuration and of all claims.
const PATIENCE: Duration = Duration::from_secs(2);
/// The API server's time is written down again when it is known so much better.
const DRIFT: Duration = Duration::from_millis(100);

/// What is written down, and what an earlier life has written down.
#[derive(Debug)]
pub struct Restart {
    keeper: Option<Keeper>,
    /// What an earlier life has written down, until it is used or the API server has told of all.
    written: Option<Written>,
    /// When the API server has had its time to answer.
    due: Instant,
    /// Claims that only the files tell of.
    unconfirmed: BTreeSet<String>,
    moment: Option<ApiMoment>,
}

/// What an earlier life has written down, unread.
#[derive(Debug)]
struct Written {
    folder: PathBuf,
    /// Claims that the API server has told of meanwhile.
    confirmed: BTreeSet<String>,
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
            written: folder.map(|folder| Written { folder: folder.to_owned(), confirmed: BTreeSet::new() }),
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

    /// How much longer the API server has to tell of all; nothing if that does not matter.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.written.as_ref().map(|_| self.due.saturating_since(now))
    }

    /// What was written down, once: if the API server has had its time and has not told of all (`is_told`), whatever else it
    /// may have answered. What it has told counts before that.
    pub fn take(&mut self, now: Instant, is_told: bool) -> Option<Snapshot> {
        if is_told {
            self.written = None;
        }
        let Written { folder, confirmed } = self.written.take_if(|_| now >= self.due)?;
        let snapshot = Snapshot::read(&folder)?;
        let names = snapshot.claims.iter().filter_map(|claim| claim.metadata.name.clone());
        self.unconfirmed = names.filter(|name| !confirmed.contains(name)).collect();
        Some(snapshot)
    }

    /// The API server has told of that claim.
    pub fn confirm(&mut self, claim: &str) {
        self.unconfirmed.remove(claim);
        if let Some(written) = &mut self.written {
            written.confirmed.insert(claim.to_owned());
        }
    }

    /// Claims that the API server, which has told of all, has not told of.
    pub fn gone(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.unconfirmed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use foghorn_crds::fixtures::config;

    use super::*;
    use crate::snapshot::tests::{Folder, claim, written};

    #[test]
    fn what_was_written_down_is_taken_once_the_api_server_had_its_time() {
        let (_folder, mut restart) = started("once", &["a"]);
        assert!(restart.take(second(1), false).is_none());
        assert_eq!(restart.remaining(second(1)), Some(Duration::from_secs(1)));
        assert_eq!(restart.take(second(2), false).map(|snapshot| snapshot.claims.len()), Some(1));
        assert!(restart.take(second(3), false).is_none());
        assert_eq!(restart.remaining(second(3)), None);
    }

    #[test]
    fn an_api_server_that_has_told_of_all_makes_it_void() {
        let (_folder, mut restart) = started("told", &["a"]);
        assert!(restart.take(second(1), true).is_none());
        assert!(restart.take(second(9), false).is_none());
    }

    #[test]
    fn claims_are_gone_if_a_whole_list_has_not_told_of_them_before_or_after() {
        let (_folder, mut restart) = started("gone", &["a", "b", "c"]);
        restart.confirm("a");
        assert_eq!(restart.take(second(2), false).map(|snapshot| snapshot.claims.len()), Some(3));
        restart.confirm("b");
        assert_eq!(restart.gone(), ["c".to_owned()].into());
        assert!(restart.gone().is_empty());
    }

    fn second(second: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(second))
    }

    /// A new life, at the start of the kernel, after one that has written down these claims.
    fn started(name: &str, claims: &[&str]) -> (Folder, Restart) {
        let claims = claims.iter().map(|name| Fact::Claim(Arc::new(claim(name, &format!("uid-{name}")))));
        let facts = [Fact::Config(Box::new(config()))].into_iter().chain(claims);
        let folder = written(&format!("restart-{name}"), facts);
        let later = Restart::new(Some(&folder.0), second(0));
        (folder, later)
    }
}
