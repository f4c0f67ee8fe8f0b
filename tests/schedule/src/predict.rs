//! How long a schedule takes if each test takes what it declares.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::{Declaration, Next, Schedule};

/// Plays a schedule of these tests and says when the last one ends.
#[must_use]
pub fn predict(tests: Vec<Declaration>, labs: usize, lanes: usize) -> Duration {
    let mut schedule = Schedule::new(tests, labs, lanes);
    let mut idle = schedule.places();
    // The end of each running test, and its place.
    let mut running = BinaryHeap::new();
    let mut now = 0;
    loop {
        idle.retain(|place| match schedule.next(*place) {
            Next::Run(test) => {
                running.push(Reverse((now + test.seconds, *place)));
                false
            }
            Next::Wait => true,
            Next::Done => false,
        });
        let Some(Reverse((end, place))) = running.pop() else { return Duration::from_secs(now) };
        now = end;
        schedule.ended(place);
        idle.push(place);
        idle.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Need;

    fn tests(shared: &[u64], alone: &[u64]) -> Vec<Declaration> {
        let test = |need| {
            move |seconds: &u64| Declaration {
                name: format!("{seconds}"),
                need,
                seconds: *seconds,
                why: None,
            }
        };
        let shared = shared.iter().map(test(Need::SharesTheLab));
        shared.chain(alone.iter().map(test(Need::DisturbsNodes))).collect()
    }

    #[test]
    fn nothing_takes_no_time() {
        assert_eq!(predict(Vec::new(), 2, 4), Duration::ZERO);
    }

    #[test]
    fn shared_tests_run_side_by_side_and_others_one_after_the_other() {
        assert_eq!(predict(tests(&[60; 8], &[]), 1, 4), Duration::from_secs(120));
        assert_eq!(predict(tests(&[], &[60; 8]), 1, 4), Duration::from_secs(480));
    }

    #[test]
    fn the_shared_lab_helps_out_when_its_own_tests_are_done() {
        assert_eq!(predict(tests(&[60; 2], &[60; 5]), 2, 2), Duration::from_secs(180));
    }

    #[test]
    fn a_long_test_begins_first() {
        assert_eq!(predict(tests(&[10, 10, 10, 10, 40], &[]), 1, 2), Duration::from_secs(40));
    }
}
