//! The order of the lab tests.

use std::collections::BTreeSet;

use crate::{Declaration, Need};

/// How many labs run at once: the first one is shared until all tests that share it are done.
pub const LABS: usize = 2;
/// How many tests run side by side in the shared lab.
pub const LANES: usize = 3;

/// Where a test runs. Lanes of the first lab share it; every other lab has one lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The lab, counted from 0.
    pub lab: usize,
    /// The lane in it, counted from 0.
    pub lane: usize,
}

/// What a place does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run this test.
    Run(Declaration),
    /// Ask again when another test has ended.
    Wait,
    /// Nothing is left for this place.
    Done,
}

/// The tests that are still to be run.
///
/// The longest come first, so that no long one is left for the end.
#[derive(Clone, Debug)]
pub struct Schedule {
    labs: usize,
    lanes: usize,
    shared: Vec<Declaration>,
    alone: Vec<Declaration>,
    sharing: BTreeSet<Place>,
}

impl Schedule {
    /// A schedule of these tests for that many labs and lanes of the first lab; at least one of each.
    #[must_use]
    pub fn new(tests: Vec<Declaration>, labs: usize, lanes: usize) -> Self {
        let (mut shared, mut alone): (Vec<_>, Vec<_>) =
            tests.into_iter().partition(|test| test.need == Need::SharesTheLab);
        // Taken from the end.
        let order =
            |test: &Declaration| (test.need != Need::ReinstallsTheChart, test.seconds, test.name.clone());
        shared.sort_by_key(order);
        alone.sort_by_key(order);
        Self { labs: labs.max(1), lanes: lanes.max(1), shared, alone, sharing: BTreeSet::new() }
    }

    /// All places.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let shared = (0..self.lanes).map(|lane| Place { lab: 0, lane });
        shared.chain((1..self.labs).map(|lab| Place { lab, lane: 0 })).collect()
    }

    /// What a place that is idle does next. When a test has ended there, [`ended`](Self::ended) has to be told.
    pub fn next(&mut self, place: Place) -> Next {
        if place.lab == 0 {
            if let Some(test) = self.shared.pop() {
                self.sharing.insert(place);
                return Next::Run(test);
            }
            if place.lane > 0 {
                return Next::Done;
            }
            if !self.sharing.is_empty() {
                return Next::Wait;
            }
        }
        self.alone.pop().map_or(Next::Done, Next::Run)
    }

    /// The test at this place has ended.
    pub fn ended(&mut self, place: Place) {
        self.sharing.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: fn(usize) -> Place = |lane| Place { lab: 0, lane };
    const OTHER: Place = Place { lab: 1, lane: 0 };

    fn test(name: &str, need: Need, seconds: u64) -> Declaration {
        Declaration { name: name.to_owned(), need, seconds, why: None }
    }

    fn name(next: Next) -> String {
        match next {
            Next::Run(test) => test.name,
            Next::Wait => "wait".to_owned(),
            Next::Done => "done".to_owned(),
        }
    }

    #[test]
    fn the_shared_lab_is_one_test_s_own_when_nothing_shares_it_any_more() {
        let tests = vec![
            test("shares", Need::SharesTheLab, 60),
            test("shares long", Need::SharesTheLab, 90),
            test("disturbs", Need::DisturbsNodes, 60),
            test("disturbs long", Need::DisturbsNodes, 120),
        ];
        let mut schedule = Schedule::new(tests, 2, 2);
        assert_eq!(schedule.places(), [LANE(0), LANE(1), OTHER]);
        assert_eq!(name(schedule.next(LANE(0))), "shares long");
        assert_eq!(name(schedule.next(LANE(1))), "shares");
        assert_eq!(name(schedule.next(OTHER)), "disturbs long");
        schedule.ended(LANE(0));
        assert_eq!(name(schedule.next(LANE(0))), "wait", "the other lane still shares");
        schedule.ended(LANE(1));
        assert_eq!(name(schedule.next(LANE(1))), "done");
        assert_eq!(name(schedule.next(LANE(0))), "disturbs");
        schedule.ended(OTHER);
        assert_eq!(name(schedule.next(OTHER)), "done");
    }

    #[test]
    fn the_chart_is_taken_away_last() {
        let tests = vec![
            test("reinstalls", Need::ReinstallsTheChart, 300),
            test("disturbs", Need::DisturbsNodes, 60),
        ];
        let mut schedule = Schedule::new(tests, 1, 1);
        assert_eq!(name(schedule.next(LANE(0))), "disturbs");
        schedule.ended(LANE(0));
        assert_eq!(name(schedule.next(LANE(0))), "reinstalls");
    }
}
