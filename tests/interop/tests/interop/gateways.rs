//! Gateways that forward ports.

use std::time::Duration;

use foghorn_interop::{
    World, address,
    gateway::{Asker, Hearing, Miniupnpd, mapping, tcp},
};
use foghorn_lab::{EXTERNAL_ADDRESS, Forwards};
use foghorn_portmap::{Answer, Ask, Client, Entry, Fault, Mapping, Notice, Protocol};

const VERSION_1: Forwards = Forwards { igd1: true, ..VERSION_2 };
const VERSION_2: Forwards = Forwards { secure: true, upnp: true, igd1: false, pcp: true, shortest: 120 };
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// What may be gone of a lease until it is told, on a busy machine.
const SPENT: Duration = Duration::from_secs(10);

#[test]
fn a_gateway_of_upnp_version_1_forwards_a_port() {
    forwards_a_port(VERSION_1);
}

#[test]
fn a_gateway_of_upnp_version_2_forwards_a_port() {
    forwards_a_port(VERSION_2);
}

fn forwards_a_port(how: Forwards) {
    let world = World::new();
    let gateway = Miniupnpd::start(&world, how);
    let mut web = Asker::new(&world, "w1", 11);
    web.serve(80);
    let found = Ok(Answer::Found { outer: Some(EXTERNAL_ADDRESS), epoch: None });
    assert_eq!(web.ask(Protocol::Igd, Ask::Find), found);
    assert_eq!(web.ask(Protocol::Igd, Ask::Outer), found);
    assert_eq!(web.ask(Protocol::Igd, Ask::Entry(tcp(8000))), Ok(Answer::Entry(None)));
    assert_eq!(web.ask(Protocol::Igd, Ask::List(0)), Ok(Answer::Entry(None)));
    let wanted = mapping(80, 8000);
    let mapped = web.ask(Protocol::Igd, Ask::Map(wanted.clone()));
    assert!(is_mapped(&mapped, wanted.lease), "{mapped:?}");
    assert_eq!(gateway.behind(8000), Some(web.source().to_string()));
    let entry = Entry {
        external: tcp(8000),
        client: Client::Address(web.source()),
        port: 80,
        description: wanted.description.clone(),
        permanent: false,
    };
    assert_eq!(web.ask(Protocol::Igd, Ask::Entry(tcp(8000))), Ok(Answer::Entry(Some(entry.clone()))));
    assert_eq!(web.ask(Protocol::Igd, Ask::List(0)), Ok(Answer::Entry(Some(entry))));
    assert_eq!(web.ask(Protocol::Igd, Ask::List(1)), Ok(Answer::Entry(None)));
    // Again, for longer than it has.
    let for_ever = Mapping { lease: None, ..wanted.clone() };
    let mapped = web.ask(Protocol::Igd, Ask::Map(for_ever));
    assert!(is_mapped(&mapped, Some(WEEK)), "{mapped:?}");
    assert_eq!(web.ask(Protocol::Igd, Ask::List(1)), Ok(Answer::Entry(None)));
    assert_eq!(web.ask(Protocol::Igd, Ask::Unmap(wanted.clone())), Ok(Answer::Unmapped));
    assert_eq!(gateway.behind(8000), None);
    assert_eq!(web.ask(Protocol::Igd, Ask::Unmap(wanted)), Ok(Answer::Unmapped));
    let of_node = format!("{}.", address(11));
    for port in [".8080:", ".5351:"] {
        assert_eq!(
            world.wire.with(&[&of_node, port]),
            Vec::<String>::new(),
            "not from the Service's address"
        );
    }
}

/// Whether port 8000 was mapped for that long. The gateway tells what is left of it, by the second.
fn is_mapped(answer: &Result<Answer, Fault>, lease: Option<Duration>) -> bool {
    let Ok(Answer::Mapped { external: 8000, lease: Some(left), outer: None, epoch: None }) = answer else {
        return false;
    };
    lease.is_some_and(|lease| lease >= *left && lease - *left <= SPENT)
}

/// A guard for the Service does not know that the answer to a search by multicast belongs to it.
#[test]
fn a_gateway_that_answers_multicast_only_is_found_by_a_service_that_is_guarded() {
    let world = World::new();
    let gateway = Miniupnpd::start(&world, VERSION_1);
    gateway.answer_multicast_only();
    let mut web = Asker::new(&world, "w1", 11);
    web.guard();
    assert_eq!(
        web.ask(Protocol::Igd, Ask::Find),
        Ok(Answer::Found { outer: Some(EXTERNAL_ADDRESS), epoch: None })
    );
    assert!(web.ask(Protocol::Igd, Ask::Map(mapping(80, 8000))).is_ok());
}

#[test]
fn a_mapping_that_is_not_renewed_ends() {
    let world = World::new();
    let _gateway = Miniupnpd::start(&world, VERSION_2);
    let mut web = found(&world, "w1", 11);
    let short = Mapping { lease: Some(Duration::from_secs(2)), ..mapping(80, 8000) };
    assert!(web.ask(Protocol::Igd, Ask::Map(short)).is_ok());
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(web.ask(Protocol::Igd, Ask::Entry(tcp(8000))), Ok(Answer::Entry(None)));
}

#[test]
fn a_port_that_another_host_has_stays_with_it() {
    let world = World::new();
    let _gateway = Miniupnpd::start(&world, VERSION_1);
    let (mut web, mut other) = (found(&world, "w1", 11), found(&world, "w2", 12));
    assert!(other.ask(Protocol::Igd, Ask::Map(mapping(81, 8000))).is_ok());
    assert_eq!(web.ask(Protocol::Igd, Ask::Map(mapping(80, 8000))), Err(Fault::Taken));
    let refused = web.ask(Protocol::Igd, Ask::Unmap(mapping(80, 8000)));
    assert!(matches!(&refused, Err(Fault::Refused(text)) if text.contains("606")), "{refused:?}");
    let entry = web.ask(Protocol::Igd, Ask::Entry(tcp(8000)));
    let Ok(Answer::Entry(Some(entry))) = entry else { panic!("{entry:?}") };
    let whose = (entry.client, entry.port, entry.description.as_str());
    assert_eq!(whose, (Client::Address(other.source()), 81, "Foghorn 81"));
}

/// Which is why nobody may ask it to who does not know whose it is.
#[test]
fn a_gateway_that_is_not_secure_lets_everybody_end_a_mapping() {
    let world = World::new();
    let _gateway = Miniupnpd::start(&world, Forwards { secure: false, ..VERSION_1 });
    let (mut web, mut other) = (found(&world, "w1", 11), found(&world, "w2", 12));
    assert!(other.ask(Protocol::Igd, Ask::Map(mapping(80, 8000))).is_ok());
    assert_eq!(web.ask(Protocol::Igd, Ask::Map(mapping(80, 8000))), Err(Fault::Taken));
    assert_eq!(web.ask(Protocol::Igd, Ask::Unmap(mapping(80, 8000))), Ok(Answer::Unmapped));
    assert_eq!(web.ask(Protocol::Igd, Ask::Entry(tcp(8000))), Ok(Answer::Entry(None)));
}

#[test]
fn a_port_that_a_gateway_must_not_forward_is_refused() {
    let world = World::new();
    let _gateway = Miniupnpd::start(&world, VERSION_1);
    let mut web = found(&world, "w1", 11);
    let refused = web.ask(Protocol::Igd, Ask::Map(mapping(80, 80)));
    assert!(matches!(&refused, Err(Fault::Refused(text)) if text.contains("does not allow")), "{refused:?}");
    assert_eq!(web.ask(Protocol::Pcp, Ask::Map(mapping(80, 80))), Err(Fault::Taken));
}

#[test]
fn a_gateway_of_pcp_forwards_a_port() {
    let world = World::new();
    let gateway = Miniupnpd::start(&world, VERSION_1);
    let mut web = Asker::new(&world, "w1", 11);
    web.serve(80);
    let found = web.ask(Protocol::Pcp, Ask::Find);
    assert!(matches!(found, Ok(Answer::Found { outer: None, epoch: Some(_) })), "{found:?}");
    for _renewed in 0..2 {
        let mapped = web.ask(Protocol::Pcp, Ask::Map(mapping(80, 8000)));
        let Ok(Answer::Mapped { external, lease, outer, epoch }) = mapped else { panic!("{mapped:?}") };
        assert_eq!((external, lease, outer), (8000, mapping(80, 8000).lease, Some(EXTERNAL_ADDRESS)));
        assert!(epoch.is_some());
    }
    assert_eq!(gateway.behind(8000), Some(web.source().to_string()));
    let other_nonce = Mapping { nonce: [8; 12], ..mapping(80, 8000) };
    let refused = web.ask(Protocol::Pcp, Ask::Unmap(other_nonce));
    assert!(matches!(refused, Err(Fault::Refused(_))), "{refused:?}");
    assert_eq!(web.ask(Protocol::Pcp, Ask::Unmap(mapping(80, 8000))), Ok(Answer::Unmapped));
    assert_eq!(gateway.behind(8000), None);
    assert_eq!(web.ask(Protocol::Pcp, Ask::Unmap(mapping(80, 8000))), Ok(Answer::Unmapped));
    for (asked, given) in [(Some(5), 120), (Some(1_000_000), 86_400), (None, 86_400)] {
        let wanted = Mapping { lease: asked.map(Duration::from_secs), ..mapping(80, 8000) };
        let mapped = web.ask(Protocol::Pcp, Ask::Map(wanted));
        let given = Duration::from_secs(given);
        assert!(
            matches!(mapped, Ok(Answer::Mapped { lease: Some(lease), .. }) if lease == given),
            "{mapped:?}"
        );
    }
}

#[test]
fn a_gateway_of_nat_pmp_forwards_a_port() {
    let world = World::new();
    let gateway = Miniupnpd::start(&world, VERSION_1);
    let mut web = Asker::new(&world, "w1", 11);
    web.serve(80);
    let found = web.ask(Protocol::NatPmp, Ask::Find);
    assert!(
        matches!(found, Ok(Answer::Found { outer: Some(EXTERNAL_ADDRESS), epoch: Some(_) })),
        "{found:?}"
    );
    for _renewed in 0..2 {
        let mapped = web.ask(Protocol::NatPmp, Ask::Map(mapping(80, 8000)));
        let Ok(Answer::Mapped { external, lease, .. }) = mapped else { panic!("{mapped:?}") };
        assert_eq!((external, lease), (8000, mapping(80, 8000).lease));
    }
    assert_eq!(gateway.behind(8000), Some(web.source().to_string()));
    assert_eq!(web.ask(Protocol::NatPmp, Ask::Unmap(mapping(80, 8000))), Ok(Answer::Unmapped));
    assert_eq!(gateway.behind(8000), None);
    assert_eq!(web.ask(Protocol::NatPmp, Ask::Unmap(mapping(80, 8000))), Ok(Answer::Unmapped));
}

/// miniupnpd does so even if it was asked by PCP to give no other.
#[test]
fn instead_of_a_port_that_is_taken_pcp_and_nat_pmp_may_give_another() {
    let world = World::new();
    let _gateway = Miniupnpd::start(&world, VERSION_1);
    let (mut web, mut other) = (found(&world, "w1", 11), found(&world, "w2", 12));
    assert!(other.ask(Protocol::Igd, Ask::Map(mapping(80, 8000))).is_ok());
    for (protocol, port) in [(Protocol::Pcp, 8001), (Protocol::NatPmp, 8002)] {
        let mapped = web.ask(protocol, Ask::Map(mapping(port, 8000)));
        assert!(matches!(mapped, Ok(Answer::Mapped { external, .. }) if external == port), "{mapped:?}");
    }
    let entry = web.ask(Protocol::Igd, Ask::Entry(tcp(8000)));
    assert!(
        matches!(entry, Ok(Answer::Entry(Some(Entry { client, .. }))) if client == foghorn_portmap::Client::Address(other.source()))
    );
}

#[test]
fn a_gateway_that_ends_and_starts_is_heard() {
    let world = World::new();
    let hearing = Hearing::on(&world.host("w1", 11));
    let gateway = Miniupnpd::start(&world, VERSION_1);
    // Its epoch begins with its start, which takes a moment; over the turn of a second it starts with one BOOTID and goes
    // on with the next, so that it may be alive twice.
    let starts = |notice: &Notice| matches!(notice, Notice::Epoch(Protocol::Pcp, 0..20));
    let is_alive = |notice: &Notice| *notice == Notice::Alive;
    let ends = |notice: &Notice| *notice == Notice::ByeBye;
    let until = |wanted: &[&dyn Fn(&Notice) -> bool]| {
        let mut heard = Vec::new();
        while !wanted.iter().all(|is_wanted| heard.iter().any(is_wanted)) {
            heard.push(hearing.next());
        }
        let is_known = |notice: &Notice| is_alive(notice) || wanted.iter().any(|is_wanted| is_wanted(notice));
        assert!(heard.iter().all(is_known), "{heard:?}");
    };
    until(&[&starts, &is_alive]);
    gateway.stop();
    until(&[&ends]);
    gateway.restart(VERSION_1);
    until(&[&starts, &is_alive]);
}

#[test]
fn a_network_without_a_gateway_is_searched_in_vain_and_in_time() {
    let world = World::new();
    let _router = world.host("router", 1);
    let mut web = Asker::new(&world, "w1", 11);
    for protocol in [Protocol::Igd, Protocol::Pcp, Protocol::NatPmp] {
        let started = std::time::Instant::now();
        let answer = web.ask(protocol, Ask::Find);
        assert!(matches!(answer, Err(Fault::Silent(_))), "{answer:?}");
        assert!(started.elapsed() < Duration::from_millis(6500), "{:?}", started.elapsed());
    }
    // By multicast from both addresses, and by nothing else than SSDP.
    for source in [address(11), web.source()] {
        let sent = world.wire.with(&[&format!("{source}."), "> 239.255.255.250.1900:"]);
        assert!(sent.len() >= 5, "{sent:?}");
    }
}

fn found(world: &World, name: &str, last: u8) -> Asker {
    let mut asker = Asker::new(world, name, last);
    let found = asker.ask(Protocol::Igd, Ask::Find);
    assert!(found.is_ok(), "{found:?}");
    asker
}
