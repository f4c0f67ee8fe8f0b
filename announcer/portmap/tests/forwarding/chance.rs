//! Whatever happens, in whichever order.

use std::time::Duration;

use foghorn_portmap::{Answer, Fault, Input, Machine, Notice, Protocol};
use proptest::prelude::*;

use crate::{
    gateway::Gateway,
    world::{World, tcp, wanted},
};

#[derive(Clone, Debug)]
enum Happening {
    Pass(u16),
    Want(u8, u8, u8),
    Unwant(u8),
    End(u8),
    Lose(u8),
    Move(u8, u8),
    Power(bool),
    Restart,
    LoseAnswer,
    Hear(Notice),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn told_is_there_and_once_quiet_the_gateway_has_what_is_wanted(
        protocol in 0usize..3,
        happenings in prop::collection::vec(happening(), 0..40),
    ) {
        let protocol = [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp][protocol];
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.gateway.forward(tcp(3000), [203, 0, 113, 9].into(), "game console", true);
        for happening in happenings {
            happen(&mut world, happening);
        }
        world.gateway.on = true;
        let restarted = !world.gateway.shown().iter().any(|shown| shown.contains("3000"));
        // Whatever nobody took back has ended by then.
        world.seconds(2 * 3_600);
        let mut expected: Vec<_> = world
            .wanted
            .values()
            .filter(|wanted| !wanted.ending)
            .flat_map(|wanted| {
                let to = |(port, external): (&foghorn_portmap::Port, &u16)| {
                    format!("TCP {external} > {}:{}", wanted.address, port.number)
                };
                wanted.ports.iter().map(to).collect::<Vec<_>>()
            })
            .collect();
        if !restarted {
            expected.push("TCP 3000 > 203.0.113.9:9".into());
        }
        expected.sort();
        let mut shown = world.gateway.shown();
        shown.sort();
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn answers_that_nobody_asked_for_and_faults_of_all_kinds_do_no_harm(
        answers in prop::collection::vec((0u64..20, answer()), 0..60),
    ) {
        let mut machine = silent();
        let mut now = foghorn_clock::Instant::from_boot(Duration::from_secs(10));
        for (number, answer) in answers {
            now += Duration::from_millis(700);
            machine.handle_input(now, Input::Answered { number, answer });
            let mut outputs = 0;
            while machine.poll_output().is_some() {
                outputs += 1;
            }
            prop_assert!(outputs < 20);
            if let Some((due, _)) = machine.poll_timeout() {
                now = now.max(due);
            }
            machine.handle_timeout(now);
        }
    }
}

fn happen(world: &mut World, happening: Happening) {
    let name = |claim: u8| format!("claim-{claim}");
    match happening {
        Happening::Pass(seconds) => world.seconds(seconds.into()),
        Happening::Want(claim, port, external) => {
            let (port, external) =
                (u16::from(port) + 1, 2_000 + 100 * u16::from(claim) + u16::from(external));
            if world.wanted.get(name(claim).as_str()).is_some_and(|wanted| !wanted.ending) {
                world.change(&name(claim), |wanted| {
                    wanted.ports.retain(|_, other| *other != external);
                    let _before = wanted.ports.insert(tcp(port), external);
                });
            } else {
                world.lose(&name(claim));
                let new = wanted(&name(claim), 50 + claim, &[(tcp(port), external)]);
                world.wanted.insert(name(claim).as_str().into(), new);
                world.tell_claims();
            }
        }
        Happening::Unwant(claim) => change(world, &name(claim), |wanted| wanted.ports.clear()),
        Happening::End(claim) => change(world, &name(claim), |wanted| wanted.ending = true),
        Happening::Lose(claim) => world.lose(&name(claim)),
        Happening::Move(claim, by) => {
            change(world, &name(claim), |wanted| {
                wanted.address = [203, 0, 113, 50 + claim + 10 * (by + 1)].into();
            });
        }
        Happening::Power(on) => world.gateway.on = on,
        Happening::Restart => world.gateway.restart(world.now),
        Happening::LoseAnswer => world.gateway.loses_answer = true,
        Happening::Hear(notice) => world.tell(Input::Heard(notice)),
    }
}

fn change(world: &mut World, claim: &str, change: impl FnOnce(&mut foghorn_portmap::Wanted)) {
    if world.wanted.contains_key(claim) {
        world.change(claim, change);
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let claim = 0u8..4;
    prop_oneof![
        (1u16..900).prop_map(Happening::Pass),
        (claim.clone(), 0u8..3, 0u8..3)
            .prop_map(|(claim, port, external)| Happening::Want(claim, port, external)),
        claim.clone().prop_map(Happening::Unwant),
        claim.clone().prop_map(Happening::End),
        claim.clone().prop_map(Happening::Lose),
        (claim, 0u8..3).prop_map(|(claim, by)| Happening::Move(claim, by)),
        any::<bool>().prop_map(Happening::Power),
        Just(Happening::Restart),
        Just(Happening::LoseAnswer),
        prop_oneof![
            Just(Notice::Alive),
            Just(Notice::ByeBye),
            any::<u32>().prop_map(|epoch| Notice::Epoch(Protocol::Pcp, epoch)),
        ]
        .prop_map(Happening::Hear),
    ]
}

fn answer() -> impl Strategy<Value = Result<Answer, Fault>> {
    prop_oneof![
        Just(Ok(Answer::Unmapped)),
        Just(Ok(Answer::Entry(None))),
        any::<Option<u32>>().prop_map(|epoch| Ok(Answer::Found { outer: None, epoch })),
        (any::<u16>(), any::<u64>()).prop_map(|(external, lease)| Ok(Answer::Mapped {
            external,
            lease: Some(Duration::from_secs(lease)),
            outer: None,
            epoch: None
        })),
        Just(Err(Fault::Taken)),
        Just(Err(Fault::PermanentOnly)),
        Just(Err(Fault::SamePortOnly)),
        Just(Err(Fault::Full)),
        Just(Err(Fault::Unsupported("401".into()))),
        Just(Err(Fault::Refused("606".into()))),
        Just(Err(Fault::Broken("?".into()))),
        Just(Err(Fault::Silent("?".into()))),
        Just(Err(Fault::NotBound("?".into()))),
    ]
}

/// A machine with a claim and a gateway, whose questions nobody answers by itself.
fn silent() -> Machine {
    let mut world = World::new(Gateway { on: false, ..Gateway::speaking(&[]) });
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.machine
}
