//! A plane whose Lease is older than what was written of its claims.
#![cfg(test)]

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_membership::{
    Answer, Change, Claim, ClaimId, Content, Epoch, Health, Input, Member, MemberId, Output, Record, Seat,
    View, Write,
};
use foghorn_membership_check::settings;

const CREATED: i64 = 1_767_225_600;

#[test]
fn grants_are_above_all_that_was_written_of_claims() {
    for view in [900, i32::MAX.unsigned_abs()] {
        for created in [CREATED + 5_000, CREATED, CREATED - 5_000] {
            let recorded = Epoch { created, view, quorum: 0 };
            let (grant, writes) = alone(Some(recorded));
            assert!(grant > recorded, "{grant} after {recorded}");
            assert!(writes <= 2, "{writes} views written after {recorded}");
        }
    }
    assert_eq!(alone(None), (Epoch { created: CREATED, view: 4, quorum: 0 }, 1));
}

/// The only member of a plane with a free Lease: the epoch in which it has a claim after ten seconds, and how many views it
/// has written.
fn alone(recorded: Option<Epoch>) -> (Epoch, usize) {
    let seat = Seat { id: MemberId(7), node: "w1".into(), address: None };
    let mut now = Instant::from_boot(Duration::from_secs(1000));
    let mut member = Member::new(now, seat, settings());
    let mut lease = Record {
        version: "1".into(),
        epoch: Epoch { created: CREATED, view: 3, quorum: 0 },
        content: Content::Released,
    };
    let mut writes = 0;
    let health = Health { carrier: true, gateway: None, subnets: Vec::new() };
    let inputs = recorded.into_iter().map(Input::Recorded);
    let claim = Input::Claim(ClaimId(1), Claim::default());
    inputs
        .chain([Input::Health(health), claim, Input::Ready(true)])
        .for_each(|input| member.handle_input(now, input));
    for _ in 0..200 {
        now += Duration::from_millis(50);
        member.handle_timeout(now);
        while let Some(output) = member.poll_output() {
            let (call, answer) = match output {
                Output::Read { call } => (call, Answer::Found(Some(lease.clone()))),
                Output::Write { call, write } => {
                    writes += usize::from(write.change.is_some());
                    lease = written(lease, write);
                    (call, Answer::Written(lease.clone()))
                }
                Output::Send { .. }
                | Output::Granted { .. }
                | Output::Revoked { .. }
                | Output::Event(_)
                | Output::Left => continue,
            };
            member.handle_input(now, Input::Answered { call, answer });
        }
    }
    (member.grant(ClaimId(1)).unwrap().epoch, writes)
}

fn written(lease: Record, write: Write) -> Record {
    let epoch = Epoch { created: CREATED.max(write.created), view: write.transitions, quorum: 0 };
    let content = match write.change {
        Some(Change::View { coordinator, seats }) => Content::View(View { epoch, coordinator, seats }),
        Some(Change::Release) => Content::Released,
        None => lease.content,
    };
    Record { version: format!("{}+", lease.version), epoch, content }
}
