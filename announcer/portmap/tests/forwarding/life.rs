//! A mapping from its first asking to its end.

use std::{collections::BTreeMap, time::Duration};

use foghorn_portmap::{Ask, Input, Notice, Protocol, Standing};

use crate::{
    gateway::{Gateway, LEASE, OUTER},
    world::{World, tcp, udp},
};

const ALL: [Protocol; 3] = [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp];

#[test]
fn every_port_of_a_claim_is_forwarded_by_whichever_protocol_the_gateway_speaks() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443), (udp(53), 5353)]);
        world.seconds(20);
        assert_eq!(
            world.gateway.shown(),
            ["TCP 8443 > 203.0.113.50:443", "UDP 5353 > 203.0.113.50:53"],
            "{protocol}"
        );
        let report = &world.reports["web"];
        assert_eq!((report.protocol, report.outer), (Some(protocol), Some(OUTER)));
        assert!(world.asked.iter().all(|request| request.source == world.wanted["web"].address));
    }
}

#[test]
fn of_several_protocols_the_first_in_the_order_is_used() {
    let mut world = World::new(Gateway::speaking(&[Protocol::NatPmp, Protocol::Pcp]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    assert_eq!(world.reports["web"].protocol, Some(Protocol::Pcp));
}

#[test]
fn in_an_hour_there_is_one_discovery_a_renewal_each_half_lease_and_a_cheap_reading_each_half_minute() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443), (tcp(80), 8080)]);
        world.seconds(60);
        world.counts();
        world.seconds(3_600);
        let counts = world.counts();
        let count = |kind| counts.get(kind).copied().unwrap_or_default();
        assert_eq!(count("find"), 1, "{protocol}: {counts:?}");
        assert_eq!(count("map"), 4, "{protocol}: {counts:?}");
        assert!((118..=121).contains(&(count("entry") + count("outer"))), "{protocol}: {counts:?}");
        assert_eq!(count("list") + count("unmap"), 0, "{protocol}: {counts:?}");
    }
}

#[test]
fn a_mapping_never_ends_while_it_is_wanted() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    for _ in 0..200 {
        world.run(LEASE / 7);
        assert_eq!(world.gateway.shown().len(), 1);
    }
}

#[test]
fn without_a_port_to_forward_the_gateway_is_never_asked() {
    let mut world = World::new(Gateway::speaking(&ALL));
    world.seconds(10_000);
    world.want("web", 50, &[]);
    world.seconds(10_000);
    assert_eq!(world.asked, []);
}

#[test]
fn what_is_not_wanted_any_more_is_taken_back() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443), (tcp(80), 8080)]);
        world.seconds(20);
        world.change("web", |wanted| {
            let _before = wanted.ports.remove(&tcp(80));
        });
        world.seconds(1);
        assert_eq!(world.gateway.shown(), ["TCP 8443 > 203.0.113.50:443"], "{protocol}");
        world.change("web", |wanted| wanted.ports.clear());
        world.seconds(1);
        assert_eq!(world.gateway.shown(), [""; 0], "{protocol}");
        assert_eq!(world.reports["web"].ports.len(), 0);
    }
}

#[test]
fn another_port_of_the_gateway_takes_the_place_of_the_one_before() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.change("web", |wanted| {
            let _before = wanted.ports.insert(tcp(443), 9443);
        });
        world.seconds(2);
        assert_eq!(world.gateway.shown(), ["TCP 9443 > 203.0.113.50:443"], "{protocol}");
    }
}

/// NAT-PMP and PCP remove by the inner port: a removal that is repeated would take the new mapping away.
#[test]
fn a_lost_answer_to_a_removal_does_not_end_the_next_mapping() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.gateway.loses_answer = true;
        world.change("web", |wanted| {
            let _before = wanted.ports.insert(tcp(443), 9443);
        });
        for second in 0..60 {
            world.seconds(1);
            if world.external("web", tcp(443)) == Some(9443) {
                assert_eq!(world.gateway.shown(), ["TCP 9443 > 203.0.113.50:443"], "{protocol}, {second} s");
            }
        }
        assert_eq!(world.external("web", tcp(443)), Some(9443), "{protocol}");
    }
}

#[test]
fn a_claim_that_ends_leaves_nothing_and_says_so() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.change("web", |wanted| wanted.ending = true);
        world.seconds(1);
        assert_eq!(world.gateway.shown(), [""; 0], "{protocol}");
        assert!(world.reports["web"].gone);
    }
}

#[test]
fn a_claim_that_ends_before_it_had_anything_is_gone_at_once() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[]);
    world.change("web", |wanted| wanted.ending = true);
    assert!(world.reports["web"].gone);
}

#[test]
fn of_a_claim_that_another_node_has_now_nothing_is_said() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    world.counts();
    world.lose("web");
    world.seconds(4_000);
    assert_eq!(world.counts(), BTreeMap::new());
}

#[test]
fn the_next_node_goes_on_with_what_the_one_before_has_asked_for() {
    for protocol in ALL {
        let mut first = World::new(Gateway::speaking(&[protocol]));
        first.want("web", 50, &[(tcp(443), 8443)]);
        first.seconds(20);
        let mut next = World::new(first.gateway.clone());
        next.gateway.started = first.gateway.started;
        next.now = first.now;
        next.want("web", 50, &[(tcp(443), 8443)]);
        next.seconds(1_000);
        assert_eq!(next.gateway.shown(), ["TCP 8443 > 203.0.113.50:443"], "{protocol}");
        assert!(!next.gateway.changes.iter().any(|change| change.starts_with("unmap")), "{protocol}");
        assert!(matches!(next.standing("web", tcp(443)), Some(Standing::Forwarded { .. })), "{protocol}");
    }
}

#[test]
fn what_the_node_before_had_for_a_port_that_nobody_wants_now_is_taken_back() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    world.lose("web");
    let mut wanted = crate::world::wanted("web", 50, &[]);
    wanted.had = BTreeMap::from([(tcp(443), 8443)]);
    world.wanted.insert("web".into(), wanted);
    world.tell_claims();
    world.seconds(20);
    assert_eq!(world.gateway.shown(), [""; 0]);
}

#[test]
fn what_the_node_before_had_is_taken_back_also_if_it_changes_before_this_one_has_asked() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.lose("web");
        let mut wanted = crate::world::wanted("web", 50, &[(tcp(443), 8443)]);
        wanted.had = BTreeMap::from([(tcp(443), 8443)]);
        world.unbound.insert(wanted.address);
        world.wanted.insert("web".into(), wanted);
        world.tell_claims();
        world.change("web", |wanted| {
            let _before = wanted.ports.insert(tcp(443), 9443);
        });
        world.unbound.clear();
        world.seconds(20);
        assert_eq!(world.gateway.shown(), ["TCP 9443 > 203.0.113.50:443"], "{protocol}");
    }
}

#[test]
fn another_address_takes_the_place_of_the_one_before() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    world.change("web", |wanted| wanted.address = [203, 0, 113, 51].into());
    world.seconds(5);
    assert_eq!(world.gateway.shown(), ["TCP 8443 > 203.0.113.51:443"]);
}

#[test]
fn where_the_gateway_keeps_what_is_of_the_address_before_the_new_one_follows_when_that_has_ended() {
    let mut world = World::new(Gateway { secure: true, ..Gateway::speaking(&[Protocol::Igd]) });
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    world.change("web", |wanted| wanted.address = [203, 0, 113, 51].into());
    world.seconds(5);
    assert!(format!("{:?}", world.trouble("web", tcp(443))).contains("former address"));
    world.run(LEASE + Duration::from_secs(60));
    assert_eq!(world.gateway.shown(), ["TCP 8443 > 203.0.113.51:443"]);
}

#[test]
fn a_gateway_that_has_lost_its_table_has_it_again_within_a_minute() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443), (udp(53), 5353)]);
        world.seconds(200);
        world.gateway.restart(world.now);
        world.seconds(60);
        assert_eq!(world.gateway.shown().len(), 2, "{protocol}");
    }
}

#[test]
fn a_gateway_that_says_that_it_has_started_anew_has_its_table_again_at_once() {
    for (protocol, notice) in [
        (Protocol::Igd, Notice::Alive),
        (Protocol::Pcp, Notice::Epoch(Protocol::Pcp, 0)),
        (Protocol::NatPmp, Notice::Epoch(Protocol::NatPmp, 0)),
    ] {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(200);
        world.gateway.restart(world.now);
        world.tell(Input::Heard(notice));
        world.seconds(1);
        assert_eq!(world.gateway.shown().len(), 1, "{protocol}");
    }
}

#[test]
fn a_gateway_that_starts_anew_twice_in_a_moment_has_its_table_again_a_moment_later() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(200);
    for _ in 0..2 {
        world.gateway.restart(world.now);
        world.tell(Input::Heard(Notice::Alive));
        world.run(Duration::from_millis(300));
    }
    world.seconds(6);
    assert_eq!(world.gateway.shown().len(), 1);
}

#[test]
fn what_was_told_of_the_gateway_stays_while_it_is_looked_for_anew() {
    for protocol in ALL {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(60);
        let before = world.reports["web"].clone();
        world.gateway.on = false;
        world.seconds(60);
        let report = &world.reports["web"];
        assert_eq!((report.protocol, report.outer), (before.protocol, before.outer));
    }
}

#[test]
fn notices_without_an_end_make_no_more_than_a_look_each_five_seconds() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(60);
    world.counts();
    for _ in 0..1_000 {
        world.tell(Input::Heard(Notice::Alive));
        world.run(Duration::from_millis(10));
    }
    assert!(world.counts()["find"] <= 3);
}

#[test]
fn forged_epochs_make_no_more_than_a_reading_every_five_seconds() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        let ports: Vec<_> = (0..20).map(|n| (tcp(443 + n), 8443 + n)).collect();
        world.want("web", 50, &ports);
        world.seconds(60);
        world.counts();
        for n in 0..1_000 {
            world.tell(Input::Heard(Notice::Epoch(protocol, if n % 2 == 0 { 0 } else { 5_000_000 })));
            world.run(Duration::from_millis(10));
        }
        let counts = world.counts();
        assert!(counts.values().sum::<usize>() <= 3, "{protocol}: {counts:?}");
        assert_eq!(world.gateway.shown().len(), 20);
    }
}

#[test]
fn what_is_asked_names_no_more_than_the_claim_s_own_port_address_and_description() {
    let mut world = World::new(Gateway::speaking(&[Protocol::Igd]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(1);
    let mapped = world.asked.iter().find_map(|request| match &request.ask {
        Ask::Map(mapping) => Some(mapping),
        _ => None,
    });
    let mapped = mapped.unwrap();
    assert_eq!((mapped.port, mapped.external, mapped.lease), (tcp(443), 8443, Some(LEASE)));
    assert_eq!(mapped.description, world.wanted["web"].description);
}
