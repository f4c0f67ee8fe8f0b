//! One member, told what happens and when.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_election::{
    Answer, Election, Epoch, Identity, Input, LostReason, Output, Precondition, Record, Timings, Write,
};

#[test]
fn a_member_that_is_not_eligible_makes_no_call() {
    let mut member = Member::new();
    member.observe(0, Some(held_by("other", 1, "5")));
    assert_eq!(member.outputs(), []);
    assert_eq!(member.election.poll_timeout(), None);
}

#[test]
fn an_absent_lease_is_created_and_held_from_when_the_write_was_sent() {
    let mut member = Member::new();
    member.input(1000, Input::Eligible(true));
    let read = member.read();
    member.answer(1010, read, Answer::Found(None));
    let (sent, call, write) = member.next_write();
    assert!((1010..=1060).contains(&sent), "{sent}");
    assert_eq!(write.precondition, Precondition::Absent);
    assert!(write.acquires);
    member.answer(sent + 700, call, Answer::Written(stored(&write, "1")));
    let permit = at(sent + 3000);
    assert_eq!(member.outputs(), [Output::Holding { epoch: epoch(1), permit }]);
    assert!(member.election.holds(at(sent + 2999)));
    assert!(!member.election.holds(permit));
}

#[test]
fn a_holder_renews_each_second_without_a_new_epoch() {
    let mut member = Member::holding();
    let (sent, call, write) = member.next_write();
    assert!((1000..=1100).contains(&sent), "{sent}");
    assert_eq!((write.transitions, write.acquires), (7, false));
    assert_eq!(write.precondition, Precondition::Version("1".to_owned()));
    member.answer(sent + 5, call, Answer::Written(stored(&write, "2")));
    assert_eq!(member.outputs(), [Output::Holding { epoch: epoch(7), permit: at(sent + 3000) }]);
}

#[test]
fn an_answer_that_never_comes_is_followed_by_a_read_before_the_permit_ends() {
    let mut member = Member::holding();
    let (sent, _, _) = member.next_write();
    let (given_up, call) = member.next_read();
    assert_eq!(given_up, sent + 1500);
    let lost_in_transit = held_by(&me(), 7, "1");
    member.answer(given_up + 5, call, Answer::Found(Some(lost_in_transit)));
    let (_, call, write) = member.next_write();
    member.answer(given_up + 10, call, Answer::Written(stored(&write, "2")));
    assert_eq!(member.outputs(), [Output::Holding { epoch: epoch(7), permit: at(given_up + 5 + 3000) }]);
}

#[test]
fn a_late_answer_to_an_earlier_call_is_ignored() {
    let mut member = Member::holding();
    let (sent, call, write) = member.next_write();
    let (given_up, _) = member.next_read();
    member.answer(given_up + 1, call, Answer::Written(stored(&write, "2")));
    assert_eq!(member.outputs(), []);
    assert_eq!(member.election.permit(), at(3000));
    assert!(sent > 0);
}

#[test]
fn a_resumed_holder_is_a_follower_and_reads_before_it_writes() {
    let mut member = Member::holding();
    member.timeout(60_000);
    let lost = Output::Lost { epoch: epoch(7), reason: LostReason::Expired };
    assert_eq!(member.outputs(), [lost, Output::Read { call: 3 }]);
    assert!(!member.election.holds(at(60_000)));
    let other = held_by("other", 8, "9");
    member.answer(60_005, 3, Answer::Found(Some(other)));
    assert_eq!(member.outputs(), []);
    assert_eq!(member.election.holder(), Some("other"));
}

#[test]
fn a_resumed_holder_that_nobody_replaced_begins_a_tenure_of_its_own() {
    let mut member = Member::holding();
    member.timeout(60_000);
    member.outputs();
    member.answer(60_005, 3, Answer::Found(Some(held_by(&me(), 7, "1"))));
    let (_, call, write) = member.next_write();
    assert_eq!((write.transitions, write.acquires), (8, true));
    member.answer(60_010, call, Answer::Written(stored(&write, "2")));
    assert_eq!(member.outputs(), [Output::Holding { epoch: epoch(8), permit: at(63_005) }]);
}

#[test]
fn a_confirmation_that_waited_in_a_queue_past_the_permit_gives_no_right() {
    let mut member = Member::holding();
    let (_, call, write) = member.next_write();
    member.answer(60_000, call, Answer::Written(stored(&write, "2")));
    assert!(!member.election.holds(at(60_000)));
    let lost = Output::Lost { epoch: epoch(7), reason: LostReason::Expired };
    assert_eq!(member.outputs().first(), Some(&lost));
}

#[test]
fn late_news_from_the_watch_does_not_end_a_tenure_but_is_checked() {
    let mut member = Member::holding();
    member.observe(200, Some(held_by("other", 6, "0")));
    let call = member.read();
    member.answer(205, call, Answer::Found(Some(held_by(&me(), 7, "1"))));
    assert_eq!(member.outputs(), []);
    assert!(member.election.holds(at(206)));
}

#[test]
fn a_deposed_holder_stops_as_soon_as_the_api_server_says_so() {
    let mut member = Member::holding();
    let (sent, call, _) = member.next_write();
    member.answer(sent + 5, call, Answer::Conflict);
    let read = member.read();
    member.answer(sent + 9, read, Answer::Found(Some(held_by("other", 8, "4"))));
    let reason = LostReason::Replaced { by: "other".to_owned() };
    assert_eq!(member.outputs(), [Output::Lost { epoch: epoch(7), reason }]);
    assert!(!member.election.holds(at(sent + 9)));
}

#[test]
fn a_silent_holder_is_replaced_one_duration_after_it_was_last_seen_to_change() {
    let mut member = Member::following("other");
    member.observe(4000, Some(held_by("other", 3, "8")));
    let (sent, read) = member.next_read();
    assert!((9000..=9050).contains(&sent), "{sent}");
    member.answer(sent + 5, read, Answer::Found(Some(held_by("other", 3, "8"))));
    let (_, call, write) = member.next_write();
    assert_eq!((write.transitions, write.precondition.clone()), (4, Precondition::Version("8".to_owned())));
    member.answer(sent + 10, call, Answer::Written(stored(&write, "9")));
    assert!(member.election.holds(at(sent + 11)));
}

#[test]
fn a_holder_with_a_longer_duration_is_left_alone_for_it_up_to_a_bound() {
    for (theirs, waited) in [(1, 5), (20, 20), (100_000, 60)] {
        let mut member = Member::new();
        member.input(0, Input::Eligible(true));
        let read = member.read();
        let record = Record { duration: Duration::from_secs(theirs), ..held_by("other", 3, "7") };
        member.answer(0, read, Answer::Found(Some(record)));
        let (sent, _) = member.next_read();
        assert!((waited * 1000..=waited * 1000 + 50).contains(&sent), "{theirs}: {sent}");
    }
}

#[test]
fn a_released_lease_is_taken_at_once_without_a_read() {
    let mut member = Member::following("other");
    member.observe(2000, Some(held_by("", 3, "8")));
    let (sent, _, write) = member.next_write();
    assert!((2000..=2050).contains(&sent), "{sent}");
    assert_eq!(write.transitions, 4);
}

#[test]
fn a_deleted_lease_is_made_again_after_its_holder_must_have_noticed() {
    let mut member = Member::following("other");
    member.observe(2000, None);
    let (sent, _, write) = member.next_write();
    assert!((7000..=7050).contains(&sent), "{sent}");
    assert_eq!((write.transitions, write.precondition), (4, Precondition::Absent));
}

#[test]
fn who_loses_the_interface_stops_at_once_and_gives_the_lease_up() {
    let mut member = Member::holding();
    member.input(300, Input::Eligible(false));
    assert!(!member.election.holds(at(300)));
    let outputs = member.outputs();
    assert_eq!(outputs[0], Output::Lost { epoch: epoch(7), reason: LostReason::NotEligible });
    let Output::Write { call, write } = &outputs[1] else { panic!("{outputs:?}") };
    assert_eq!((write.holder.as_str(), write.transitions), ("", 7));
    member.answer(305, *call, Answer::Written(stored(write, "2")));
    assert_eq!(member.outputs(), []);
    assert_eq!(member.election.poll_timeout(), None);
}

#[test]
fn a_holder_whose_lease_is_deleted_makes_it_again_at_once() {
    let mut member = Member::holding();
    member.observe(300, None);
    let read = member.read();
    member.answer(305, read, Answer::Found(None));
    assert_eq!(member.outputs(), [Output::Lost { epoch: epoch(7), reason: LostReason::Deleted }]);
    let (sent, _, write) = member.next_write();
    assert!((305..=355).contains(&sent), "{sent}");
    assert_eq!((write.transitions, write.precondition), (8, Precondition::Absent));
}

#[test]
fn a_former_holder_waits_before_it_makes_a_deleted_lease_again() {
    let mut member = Member::holding();
    member.timeout(60_000);
    member.outputs();
    member.answer(60_005, 3, Answer::Found(None));
    let (sent, _, _) = member.next_write();
    assert!((65_005..=65_055).contains(&sent), "{sent}");
}

#[test]
fn a_lease_that_was_perhaps_taken_is_given_up_as_well() {
    let mut member = Member::following("other");
    member.observe(2000, Some(held_by("", 3, "8")));
    let (sent, call, _) = member.next_write();
    member.input(sent + 1, Input::Leave);
    member.answer(sent + 2, call, Answer::Failed);
    let (found, read) = member.next_read();
    member.answer(found, read, Answer::Found(Some(held_by(&me(), 4, "9"))));
    let (_, _, write) = member.next_write();
    assert_eq!((write.holder.as_str(), write.precondition), ("", Precondition::Version("9".to_owned())));
}

#[test]
fn a_release_never_touches_the_lease_of_another() {
    let mut member = Member::holding();
    let (sent, call, _) = member.next_write();
    member.input(sent + 1, Input::Leave);
    assert_eq!(member.outputs(), [Output::Lost { epoch: epoch(7), reason: LostReason::Left }]);
    member.answer(sent + 2, call, Answer::Failed);
    member.observe(sent + 3, Some(held_by("other", 8, "9")));
    let (found, read) = member.next_read();
    member.answer(found, read, Answer::Found(Some(held_by("other", 8, "9"))));
    assert_eq!(member.outputs(), [Output::Left]);
}

#[test]
fn leaving_ends_also_when_the_api_server_never_answers() {
    let mut member = Member::holding();
    member.input(500, Input::Leave);
    while let Some((due, _)) = member.election.poll_timeout() {
        assert!(due <= at(500 + 3000 + 1500), "{due:?}");
        member.election.handle_timeout(due);
    }
    assert_eq!(member.outputs().last(), Some(&Output::Left));
}

#[test]
fn foreign_transitions_at_their_maximum_do_not_overflow() {
    let mut member = Member::following("other");
    let record = Record { epoch: Epoch { created: 100, transitions: u32::MAX }, ..held_by("", 0, "8") };
    member.observe(10, Some(record));
    let (_, _, write) = member.next_write();
    assert_eq!(write.transitions, i32::MAX.unsigned_abs());
}

/// A member with its calls counted; times are milliseconds.
struct Member {
    election: Election,
}

impl Member {
    fn new() -> Self {
        Self { election: Election::new(&Identity::new("me", 1), Timings::PLANE, 1) }
    }

    /// Holds the Lease with transitions 7 in version 1 by a write that was sent at 0.
    fn holding() -> Self {
        let mut member = Self::new();
        member.input(0, Input::Eligible(true));
        let read = member.read();
        member.answer(0, read, Answer::Found(Some(held_by(&me(), 6, "0"))));
        let (_, call, write) = member.next_write();
        member.answer(0, call, Answer::Written(stored(&write, "1")));
        assert_eq!(member.outputs(), [Output::Holding { epoch: epoch(7), permit: at(3000) }]);
        member
    }

    /// Has seen at 0 that `holder` holds the Lease with transitions 3 in version 7.
    fn following(holder: &str) -> Self {
        let mut member = Self::new();
        member.input(0, Input::Eligible(true));
        let read = member.read();
        member.answer(0, read, Answer::Found(Some(held_by(holder, 3, "7"))));
        assert_eq!(member.outputs(), []);
        member
    }

    fn input(&mut self, now: u64, input: Input) {
        self.election.handle_input(at(now), input);
    }

    fn observe(&mut self, now: u64, record: Option<Record>) {
        self.input(now, Input::Observed(record));
    }

    fn answer(&mut self, now: u64, call: u64, answer: Answer) {
        self.input(now, Input::Answered { call, answer });
    }

    fn timeout(&mut self, now: u64) {
        self.election.handle_timeout(at(now));
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.election.poll_output()).collect()
    }

    fn read(&mut self) -> u64 {
        match self.outputs().as_slice() {
            [Output::Read { call }] => *call,
            outputs => panic!("no read but {outputs:?}"),
        }
    }

    /// Lets time pass until there is something to do; when that was, and what.
    fn advance(&mut self) -> (u64, Vec<Output>) {
        let mut due = Instant::ZERO;
        let mut outputs = self.outputs();
        while outputs.is_empty() {
            due = self.election.poll_timeout().expect("something is to come").0;
            self.election.handle_timeout(due);
            outputs = self.outputs();
        }
        (u64::try_from(due.since_boot().as_millis()).unwrap(), outputs)
    }

    fn next_read(&mut self) -> (u64, u64) {
        let (due, outputs) = self.advance();
        match outputs.as_slice() {
            [Output::Read { call }] => (due, *call),
            outputs => panic!("no read but {outputs:?}"),
        }
    }

    fn next_write(&mut self) -> (u64, u64, Write) {
        let (due, outputs) = self.advance();
        match outputs.as_slice() {
            [Output::Write { call, write }] => (due, *call, write.clone()),
            outputs => panic!("no write but {outputs:?}"),
        }
    }
}

fn at(millis: u64) -> Instant {
    Instant::from_boot(Duration::from_millis(millis))
}

fn epoch(transitions: u32) -> Epoch {
    Epoch { created: 100, transitions }
}

fn me() -> String {
    Identity::new("me", 1).to_string()
}

fn held_by(holder: &str, transitions: u32, version: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        epoch: epoch(transitions),
        renewed: version.to_owned(),
        duration: Duration::from_secs(5),
        version: version.to_owned(),
    }
}

fn stored(write: &Write, version: &str) -> Record {
    held_by(&write.holder, write.transitions, version)
}
