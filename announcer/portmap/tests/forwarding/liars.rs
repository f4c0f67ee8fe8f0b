//! Gateways whose answers would have them asked without a pause.

use std::time::Duration;

use foghorn_portmap::{Port, Protocol, Trouble};

use crate::{
    gateway::Gateway,
    world::{World, tcp},
};

const PORTS: u16 = 20;

#[test]
fn a_clock_that_jumps_has_ports_asked_for_every_five_seconds() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let asked = in_a_minute(Gateway { jumps: 1_000, ..Gateway::speaking(&[protocol]) }).0;
        assert!(asked <= 14 * (usize::from(PORTS) + 2), "{protocol}: {asked}");
    }
}

#[test]
fn a_gateway_that_restarts_twice_in_five_seconds_is_asked_after_the_second() {
    for protocol in [Protocol::Pcp, Protocol::NatPmp] {
        let mut world = World::new(Gateway::speaking(&[protocol]));
        world.want("web", 50, &ports());
        world.seconds(100);
        for _ in 0..2 {
            world.gateway.restart(world.now);
            world.seconds(3);
            world.tell(foghorn_portmap::Input::Heard(foghorn_portmap::Notice::Epoch(protocol, 3)));
        }
        world.seconds(10);
        assert_eq!(world.gateway.table.len(), usize::from(PORTS), "{protocol}");
    }
}

#[test]
fn a_port_that_is_granted_for_a_second_only_is_refused() {
    for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
        let longest = Some(Duration::from_secs(1));
        let (asked, trouble) = in_a_minute(Gateway { longest, ..Gateway::speaking(&[protocol]) });
        assert!(asked <= 6 * usize::from(PORTS), "{protocol}: {asked}");
        assert_eq!(trouble, Some(Trouble::Refused("it forwards it for 1 s only".to_owned())));
    }
}

#[test]
fn a_gateway_that_is_found_and_forwards_nothing_is_not_asked_without_a_pause() {
    for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
        let (asked, trouble) = in_a_minute(Gateway { ignorant: true, ..Gateway::speaking(&[protocol]) });
        assert!(asked <= 6 * usize::from(PORTS), "{protocol}: {asked}");
        assert!(matches!(trouble, Some(Trouble::Refused(why)) if why.contains("401")), "{protocol}");
    }
}

/// How many questions it is asked, and how one of the ports stands then.
fn in_a_minute(gateway: Gateway) -> (usize, Option<Trouble>) {
    let mut world = World::new(gateway);
    world.want("web", 50, &ports());
    world.seconds(60);
    (world.asked.len(), world.trouble("web", tcp(443)).cloned())
}

fn ports() -> Vec<(Port, u16)> {
    (0..PORTS).map(|n| (tcp(443 + n), 8443 + n)).collect()
}
