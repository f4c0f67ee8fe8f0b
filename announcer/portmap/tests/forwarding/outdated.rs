//! Answers to questions about what is not wanted any more when they come.

use std::time::Duration;

use foghorn_portmap::{Answer, Ask, Config, Fault, Input, Output, Protocol, Request, Trouble};

use crate::{
    gateway::{Gateway, LEASE},
    world::{World, tcp},
};

#[test]
fn without_a_protocol_nothing_is_due_and_the_report_says_why() {
    let mut world = World::with(protocols(&[]), Gateway::speaking(&[Protocol::NatPmp]));
    world.want("web", 50, &[(tcp(443), 8443)]);
    assert_eq!(world.machine.poll_timeout(), None);
    assert_eq!(world.trouble("web", tcp(443)), Some(&Trouble::NoProtocol));
    world.tell(Input::Config(protocols(&[Protocol::NatPmp])));
    world.seconds(1);
    assert_eq!(world.external("web", tcp(443)), Some(8443));
    world.tell(Input::Config(protocols(&[])));
    world.seconds(LEASE.as_secs() + 1);
    assert_eq!(world.machine.poll_timeout(), None);
}

#[test]
fn an_answer_by_a_former_list_of_protocols_says_nothing_of_the_new_one() {
    let mut world = World::with(protocols(&[Protocol::Pcp]), Gateway::speaking(&[]));
    let request = open(&mut world, |world| want(world, 8443));
    assert_eq!((request.protocol, &request.ask), (Protocol::Pcp, &Ask::Find));
    world.machine.handle_input(world.now, Input::Config(protocols(&[Protocol::NatPmp, Protocol::Pcp])));
    world.gateway.speaks = vec![Protocol::Pcp, Protocol::NatPmp];
    let next = open(&mut world, |world| {
        let answer = Ok(Answer::Found { outer: None, epoch: Some(1) });
        world.machine.handle_input(world.now, Input::Answered { number: request.number, answer });
    });
    assert_eq!((next.protocol, next.ask), (Protocol::NatPmp, Ask::Find));
}

#[test]
fn a_port_of_the_gateway_is_not_asked_for_by_a_look_at_another_one() {
    let mut world = found();
    world.gateway.forward(tcp(9443), [203, 0, 113, 9].into(), "game console", true);
    let look = open(&mut world, |world| want(world, 8443));
    assert_eq!(look.ask, Ask::Entry(tcp(8443)));
    answer_after_a_change(&mut world, &look, Ok(Answer::Entry(None)));
    world.seconds(60);
    assert!(world.gateway.shown().contains(&"TCP 9443 > 203.0.113.9:9".to_owned()));
    assert!(matches!(world.trouble("web", tcp(443)), Some(Trouble::Taken(9443, _))));
}

#[test]
fn what_was_granted_for_a_port_that_is_not_wanted_now_goes_back() {
    let mut world = found();
    let look = open(&mut world, |world| want(world, 8443));
    let map = open(&mut world, |world| answer(world, &look, Ok(Answer::Entry(None))));
    let granted = world.gateway.answer(world.now, &map);
    answer_after_a_change(&mut world, &map, granted);
    world.seconds(60);
    assert_eq!(world.gateway.shown(), ["TCP 9443 > 203.0.113.50:443"]);
}

#[test]
fn what_may_have_been_granted_though_its_answer_is_lost_goes_back() {
    let mut world = found();
    let look = open(&mut world, |world| want(world, 8443));
    let map = open(&mut world, |world| answer(world, &look, Ok(Answer::Entry(None))));
    world.gateway.answer(world.now, &map).unwrap();
    answer_after_a_change(&mut world, &map, Err(Fault::Silent("lost".into())));
    world.seconds(60);
    assert_eq!(world.gateway.shown(), ["TCP 9443 > 203.0.113.50:443"]);
}

#[test]
fn what_was_granted_to_a_former_address_is_not_the_new_one_s() {
    for protocol in [Protocol::Igd, Protocol::NatPmp] {
        let mut world = World::with(protocols(&[protocol]), Gateway::speaking(&[protocol]));
        world.want("other", 52, &[(tcp(80), 8080)]);
        world.seconds(20);
        let mut request = open(&mut world, |world| want(world, 8443));
        if request.ask == Ask::Entry(tcp(8443)) {
            request = open(&mut world, |world| answer(world, &request, Ok(Answer::Entry(None))));
        }
        let granted = world.gateway.answer(world.now, &request);
        world.wanted.get_mut("web").unwrap().address = [203, 0, 113, 51].into();
        open(&mut world, |world| {
            let input = Input::Claims { wanted: world.wanted.clone(), plane: world.plane.clone() };
            world.machine.handle_input(world.now, input);
            answer(world, &request, granted);
        });
        let told = world.external("web", tcp(443));
        assert_eq!(told, None, "{protocol}: it forwards to the former address");
    }
}

#[test]
fn a_port_that_was_granted_after_it_was_forbidden_goes_back() {
    let mut world = found();
    let look = open(&mut world, |world| want(world, 8443));
    let map = open(&mut world, |world| answer(world, &look, Ok(Answer::Entry(None))));
    let granted = world.gateway.answer(world.now, &map);
    let config = Config { ports: vec![20_000..=20_100], ..protocols(&[Protocol::Igd]) };
    world.machine.handle_input(world.now, Input::Config(config));
    world.tell(Input::Answered { number: map.number, answer: granted });
    world.seconds(60);
    assert_eq!(world.gateway.shown(), [""; 0]);
    assert_eq!(world.trouble("web", tcp(443)), Some(&Trouble::NotAllowed(8443)));
}

#[test]
fn a_removal_that_is_put_off_does_not_end_the_same_port_asked_for_again() {
    for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
        let mut world = World::with(protocols(&[protocol]), Gateway::speaking(&[protocol]));
        world.want("web", 50, &[(tcp(443), 8443), (tcp(80), 8080)]);
        world.seconds(20);
        world.gateway.loses_answer = true;
        world.change("web", |wanted| {
            let _before = wanted.ports.remove(&tcp(443));
        });
        world.change("web", |wanted| {
            let _before = wanted.ports.insert(tcp(81), 8443);
        });
        for second in 0..60 {
            world.seconds(1);
            if world.external("web", tcp(81)) == Some(8443) {
                let shown = world.gateway.shown();
                assert!(shown.contains(&"TCP 8443 > 203.0.113.50:81".to_owned()), "{protocol}, {second} s");
            }
        }
        assert_eq!(world.external("web", tcp(81)), Some(8443), "{protocol}");
    }
}

/// With a gateway that was found for another claim.
fn found() -> World {
    let mut world = World::with(protocols(&[Protocol::Igd]), Gateway::speaking(&[Protocol::Igd]));
    world.want("other", 52, &[(tcp(80), 8080)]);
    world.seconds(20);
    world.change("other", |wanted| wanted.ports.clear());
    world.seconds(1);
    world
}

fn want(world: &mut World, external: u16) {
    world.wanted.insert("web".into(), crate::world::wanted("web", 50, &[(tcp(443), external)]));
    let wanted = world.wanted.clone();
    world.machine.handle_input(world.now, Input::Claims { wanted, plane: world.plane.clone() });
}

fn answer(world: &mut World, request: &Request, answer: Result<Answer, Fault>) {
    world.now += Duration::from_millis(10);
    world.machine.handle_input(world.now, Input::Answered { number: request.number, answer });
}

/// The gateway's port 9443 is wanted when the answer comes.
fn answer_after_a_change(world: &mut World, request: &Request, answer: Result<Answer, Fault>) {
    want(world, 9443);
    world.tell(Input::Answered { number: request.number, answer });
}

/// The question that is asked then, and not answered.
fn open(world: &mut World, act: impl FnOnce(&mut World)) -> Request {
    act(world);
    let mut asked = None;
    while let Some(output) = world.machine.poll_output() {
        match output {
            Output::Ask(request) => asked = Some(request),
            Output::Report(claim, report) => drop(world.reports.insert(claim, report)),
        }
    }
    asked.unwrap_or_else(|| panic!("it asks nothing: {:?}", world.machine.poll_timeout()))
}

fn protocols(protocols: &[Protocol]) -> Config {
    Config { protocols: protocols.to_vec(), another: false, ports: vec![1024..=u16::MAX] }
}
