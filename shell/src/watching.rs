//! How watches of the API server are tried again.

use std::time::Duration;

use backon::ExponentialBuilder;
use kube::runtime::{utils::ResetTimerBackoff, watcher::ExponentialBackoff};

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait; by chance up to twice as long, so that not all nodes come at once.
const LONGEST: Duration = Duration::from_secs(5);
/// Without a failure for so long, the next one is a first one again.
const CALM: Duration = Duration::from_secs(60);

/// How long to wait before a watch is tried again. After an outage of the API server, however long, new Services are seen
/// within ten seconds.
#[must_use]
pub fn patience() -> ResetTimerBackoff<ExponentialBackoff> {
    let waits = ExponentialBuilder::default().with_min_delay(FIRST).with_max_delay(LONGEST);
    ResetTimerBackoff::new(waits.with_jitter().without_max_times().into(), CALM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_again_within_ten_seconds_however_often_it_has_failed() {
        let waits: Vec<_> = patience().take(100).collect();
        assert_eq!(waits.len(), 100, "it is never given up");
        assert!(waits.iter().all(|wait| (FIRST..=LONGEST * 2).contains(wait)), "{waits:?}");
        assert!(waits.first().is_some_and(|first| *first <= FIRST * 2), "{waits:?}");
    }
}
