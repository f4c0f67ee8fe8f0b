//! What stands in the way, and what is said of it.

use foghorn_portmap::{Config, Input, Protocol, Standing, Trouble};

use crate::{
    gateway::Gateway,
    world::{World, tcp},
};

#[test]
fn another_s_mapping_is_neither_overwritten_nor_removed() {
    let mut world = World::new(igd());
    world.gateway.forward(tcp(8443), [203, 0, 113, 9].into(), "game console", false);
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(600);
    world.change("web", |wanted| wanted.ending = true);
    world.seconds(60);
    assert_eq!(world.gateway.shown(), ["TCP 8443 > 203.0.113.9:9"]);
    assert_eq!(world.gateway.changes, [""; 0]);
}

#[test]
fn a_port_that_is_another_s_is_told_with_whose_it_is_and_had_once_it_is_free() {
    let mut world = World::new(igd());
    world.gateway.forward(tcp(8443), [203, 0, 113, 9].into(), "game console", false);
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    let trouble = format!("{:?}", world.trouble("web", tcp(443)));
    assert!(trouble.contains("203.0.113.9:9") && trouble.contains("game console"), "{trouble}");
    world.gateway.table.clear();
    world.seconds(61);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
}

#[test]
fn where_the_plane_allows_it_another_port_is_had_in_place_of_one_that_is_taken() {
    for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
        let mut world = World::with(another(), Gateway::speaking(&[protocol]));
        world.gateway.forward(tcp(8443), [203, 0, 113, 9].into(), "game console", false);
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        let external = world.external("web", tcp(443)).unwrap();
        assert!((20_000..=20_100).contains(&external), "{protocol}: {external}");
        world.seconds(10_000);
        assert_eq!(world.external("web", tcp(443)), Some(external), "{protocol}: it stays");
    }
}

#[test]
fn a_plane_that_allows_another_port_from_now_on_has_it_at_once() {
    let mut world = World::new(igd());
    world.gateway.forward(tcp(8443), [203, 0, 113, 9].into(), "game console", false);
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    assert_eq!(world.external("web", tcp(443)), None);
    world.tell(Input::Config(another()));
    world.seconds(2);
    assert!(world.external("web", tcp(443)).is_some());
}

#[test]
fn of_two_claims_the_one_that_comes_first_has_the_port() {
    let mut world = World::new(igd());
    world.plane.reserved.insert(tcp(8443), "shop".into());
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.want("shop", 51, &[(tcp(443), 8443)]);
    world.seconds(20);
    assert_eq!(world.external("shop", tcp(443)), Some(8443));
    assert_eq!(world.trouble("web", tcp(443)), Some(&Trouble::Taken(8443, "the claim shop".into())));
    world.change("shop", |wanted| wanted.ending = true);
    world.seconds(1);
    world.plane.reserved.clear();
    world.lose("shop");
    world.seconds(1);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
}

#[test]
fn a_port_that_may_not_be_asked_for_is_not() {
    let mut world = World::new(igd());
    world.want("web", 50, &[(tcp(443), 443)]);
    world.seconds(100);
    assert_eq!(world.trouble("web", tcp(443)), Some(&Trouble::NotAllowed(443)));
    assert_eq!(world.gateway.shown(), [""; 0]);
}

#[test]
fn a_port_that_may_not_be_asked_for_any_more_is_given_back() {
    for another in [false, true] {
        let ports = vec![20_000..=20_100];
        let mut world = World::new(igd());
        world.want("web", 50, &[(tcp(443), 8443)]);
        world.seconds(20);
        world.tell(Input::Config(Config { protocols: vec![Protocol::Igd], another, ports }));
        world.seconds(20);
        let external = world.external("web", tcp(443));
        assert_eq!(external.is_some_and(|external| (20_000..=20_100).contains(&external)), another);
        assert_eq!(world.gateway.shown().len(), usize::from(another));
    }
}

#[test]
fn a_gateway_that_comes_late_is_found() {
    let mut world = World::new(Gateway { on: false, ..igd() });
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(600);
    assert!(matches!(world.trouble("web", tcp(443)), Some(Trouble::NotFound(_))));
    world.gateway.on = true;
    world.seconds(35);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
}

#[test]
fn while_the_gateway_is_away_what_it_forwards_stays_told_until_its_end() {
    let mut world = World::new(igd());
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(60);
    world.gateway.on = false;
    world.seconds(600);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
    assert!(matches!(world.trouble("web", tcp(443)), Some(Trouble::NotFound(_))));
    world.seconds(3_600);
    assert!(matches!(world.standing("web", tcp(443)), Some(Standing::Failed(Trouble::NotFound(_)))));
}

#[test]
fn a_gateway_that_takes_mappings_without_an_end_only_gets_one_and_it_is_told() {
    let mut world = World::new(Gateway { permanent_only: true, ..igd() });
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(60);
    let Some(Standing::Forwarded { until: None, permanent_only: true, .. }) = world.standing("web", tcp(443))
    else {
        panic!("{:?}", world.reports);
    };
    world.change("web", |wanted| wanted.ending = true);
    world.seconds(1);
    assert_eq!(world.gateway.shown(), [""; 0]);
}

#[test]
fn a_leftover_without_an_end_of_a_claim_that_is_no_more_is_removed_and_no_other() {
    let mut world = World::new(igd());
    let gone = [203, 0, 113, 77].into();
    world.gateway.forward(tcp(2000), gone, "foghorn 11111111 deadbeef gone/web", true);
    world.gateway.forward(tcp(2001), gone, "foghorn 11111111 deadbeef gone/web", true);
    world.gateway.forward(tcp(2002), gone, "foghorn 11111111 deadbeef gone/web", false);
    world.gateway.forward(tcp(2003), gone, "foghorn 22222222 deadbeef gone/web", true);
    world.gateway.forward(tcp(2004), gone, "game console", true);
    world.gateway.forward(tcp(2005), gone, "foghorn 11111111 00000001 there/web", true);
    world.plane.descriptions.insert("foghorn 11111111 00000001 there/web".into());
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(20);
    let left: Vec<_> = world.gateway.table.keys().map(|port| port.number).collect();
    assert_eq!(left, [2002, 2003, 2004, 2005, 8443]);
}

#[test]
fn a_leftover_that_stays_after_its_removal_is_removed_once() {
    let mut world = World::new(igd());
    let gone = [203, 0, 113, 77].into();
    for port in 2000..2003 {
        world.gateway.forward(tcp(port), gone, "foghorn 11111111 deadbeef gone/web", true);
    }
    world.gateway.keeps = vec![tcp(2000), tcp(2001)];
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(60);
    let counts = world.counts();
    assert_eq!(counts.get("unmap"), Some(&3), "{counts:?}");
    let left: Vec<_> = world.gateway.table.keys().map(|port| port.number).collect();
    assert_eq!(left, [2000, 2001, 8443]);
}

#[test]
fn a_gateway_that_lets_nobody_look_is_asked_all_the_same() {
    let mut world = World::new(Gateway { blind: true, ..igd() });
    world.want("web", 50, &[(tcp(443), 8443)]);
    world.seconds(60);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
    world.change("web", |wanted| wanted.ending = true);
    world.seconds(1);
    assert_eq!(world.gateway.shown(), [""; 0]);
}

#[test]
fn a_gateway_that_forwards_to_the_same_port_only_says_why_it_does_not() {
    let mut world = World::new(Gateway { same_port_only: true, ..igd() });
    world.want("web", 50, &[(tcp(443), 8443), (tcp(8080), 8080)]);
    world.seconds(20);
    assert!(format!("{:?}", world.trouble("web", tcp(443))).contains("same ports only"));
    assert_eq!(world.external("web", tcp(8080)), Some(8080));
}

#[test]
fn one_claim_whose_address_is_not_on_the_node_yet_keeps_no_other_waiting() {
    let mut world = World::new(igd());
    world.unbound.insert([203, 0, 113, 50].into());
    world.want("a", 50, &[(tcp(443), 8443)]);
    world.want("b", 51, &[(tcp(443), 9443)]);
    world.seconds(10);
    assert_eq!(world.external("b", tcp(443)), Some(9443));
    world.unbound.clear();
    world.seconds(2);
    assert_eq!(world.external("a", tcp(443)), Some(8443));
}

fn igd() -> Gateway {
    Gateway::speaking(&[Protocol::Igd])
}

fn another() -> Config {
    let protocols = vec![Protocol::Igd, Protocol::Pcp, Protocol::NatPmp];
    Config { protocols, another: true, ports: vec![8443..=8443, 20_000..=20_100] }
}
