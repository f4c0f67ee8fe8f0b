//! The whole life of a mapping, by each protocol and at each kind of gateway. The end-to-end tests show it in a cluster for two
//! of these kinds.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use foghorn_interop::{
    World,
    gateway::{Asker, Forwarder, GATEWAY, HTTP, Miniupnpd, PCP, mapping, tcp},
};
use foghorn_lab::{Error, Forwards, until};
use foghorn_portmap::{Answer, Ask, Protocol, Report, Standing};

/// Half of it until a renewal.
const LEASE: Duration = Duration::from_secs(20);
/// Within it a gateway that has lost its table has it again: it is read every half minute.
const A_MINUTE: Duration = Duration::from_secs(60);
/// UPnP version 2, and to the asking host only.
const UPNP_2: Forwards = Forwards { secure: true, upnp: true, igd1: false, pcp: false, shortest: 20 };
const NO_UPNP: Forwards = Forwards { upnp: false, pcp: true, ..UPNP_2 };

#[test]
fn a_mapping_by_pcp_lives_its_whole_life_with_few_questions() {
    whole_life(Protocol::Pcp, NO_UPNP);
}

#[test]
fn a_mapping_by_nat_pmp_lives_its_whole_life_with_few_questions() {
    whole_life(Protocol::NatPmp, NO_UPNP);
}

#[test]
fn a_mapping_by_insecure_upnp_1_lives_its_whole_life_with_few_questions() {
    whole_life(Protocol::Igd, Forwards { secure: false, igd1: true, ..UPNP_2 });
}

#[test]
fn a_mapping_by_secure_upnp_2_lives_its_whole_life_with_few_questions() {
    whole_life(Protocol::Igd, UPNP_2);
}

/// Asked for, renewed, forgotten by the gateway, taken over by another node, changed, and given back. A mapping of another host
/// stays as it is.
fn whole_life(protocol: Protocol, how: Forwards) {
    let world = World::new();
    let gateway = Miniupnpd::start(&world, how);
    let mut stranger = Stranger::new(&world, protocol);
    stranger.map();
    let foreign = stranger.row();

    let first = Forwarder::new(&world, "w1", 11).asking(protocol, LEASE);
    let reached = |node: &Forwarder, name: &str, external: u16| {
        let to = SocketAddrV4::new(node.source(), 80);
        until(&format!("port {external} leads to {name} by {protocol}"), A_MINUTE, || {
            let (told, table) = (node.told("web"), gateway.table());
            let behind = gateway.behind(external);
            let is_told = told.protocol == Some(protocol) && is_forwarded(&told, external);
            let all = is_told && table == [(external, to), foreign];
            if all && behind.as_deref() == Some(name) {
                return Ok(Some(()));
            }
            Err(Error::Config(format!("{behind:?} is behind it; {table:?}, and the node reports {told:?}")))
        })
        .unwrap();
    };
    first.serve(80);
    first.want("web", &[(80, 8000)], false);
    reached(&first, "w1", 8000);

    renewed(&world, &first);
    reached(&first, "w1", 8000);

    gateway.lose_power();
    assert_eq!((gateway.behind(8000), gateway.table()), (None, Vec::new()));
    gateway.restart(how);
    let began = Instant::now();
    stranger.map();
    reached(&first, "w1", 8000);
    println!("{protocol}: its table was lost, and there again after {:.1?}", began.elapsed());

    let next = first.lost_to(&world, "w2", 12);
    next.serve(80);
    next.want("web", &[(80, 8000)], false);
    reached(&next, "w2", 8000);

    next.want("web", &[(80, 8001)], false);
    reached(&next, "w2", 8001);
    assert_eq!(gateway.behind(8000), None);

    next.want("web", &[], false);
    until("nothing is left of it", A_MINUTE, || {
        let left = (next.told("web").ports, gateway.table());
        Ok((left.0.is_empty() && left.1 == [foreign]).then_some(()))
    })
    .unwrap();
    assert_eq!(gateway.behind(8001), None);
    assert_eq!(gateway.behind(FOREIGN), Some(stranger.host.source().to_string()));
}

/// Waits for three renewals: the first lease is over then. Questions are counted after the first renewal, when the node has read the
/// gateway's table and has heard its announcement.
fn renewed(world: &World, node: &Forwarder) {
    let end = || match node.told("web").ports.get(&tcp(80)) {
        Some(Standing::Forwarded { until, .. }) => *until,
        _ => None,
    };
    let later = |what: &str, than: foghorn_clock::Instant| {
        until(what, 2 * LEASE, || Ok(end().filter(|end| *end >= than))).unwrap()
    };
    let first = later("a renewal", end().unwrap() + LEASE / 2);
    let before = questions(world, node.source()).len();
    later("two more", first + LEASE);
    let asked = questions(world, node.source()).split_off(before);
    println!("{} questions in {LEASE:?}", asked.len());
    assert!(asked.len() <= 5, "two renewals and a reading, and what is sent again: {asked:#?}");
}

/// What an address has asked the gateway: datagrams of PCP and NAT-PMP, and connections of UPnP.
fn questions(world: &World, source: Ipv4Addr) -> Vec<String> {
    let source = format!("{source}.");
    let mut asked = world.wire.with(&[&source, &format!("> {GATEWAY}.{PCP}:")]);
    asked.extend(world.wire.with(&[&source, &format!("> {GATEWAY}.{HTTP}: Flags [S],")]));
    asked
}

/// Whether the only port of a claim is forwarded from that one.
fn is_forwarded(told: &Report, wanted: u16) -> bool {
    let is_it =
        |standing: &Standing| matches!(standing, Standing::Forwarded { external, .. } if *external == wanted);
    told.ports.len() == 1 && told.ports.get(&tcp(80)).is_some_and(is_it)
}

/// The gateway's port that another host has.
const FOREIGN: u16 = 9000;

/// Another host with a mapping of its own.
struct Stranger {
    host: Asker,
    protocol: Protocol,
}

impl Stranger {
    fn new(world: &World, protocol: Protocol) -> Self {
        let host = Asker::new(world, "stranger", 20);
        host.serve(81);
        Self { host, protocol }
    }

    /// Asks for it.
    fn map(&mut self) {
        let found = self.host.ask(self.protocol, Ask::Find);
        assert!(found.is_ok(), "{found:?}");
        let mapped = self.host.ask(self.protocol, Ask::Map(mapping(81, FOREIGN)));
        assert!(matches!(mapped, Ok(Answer::Mapped { external: FOREIGN, .. })), "{mapped:?}");
    }

    /// The gateway's entry of it.
    fn row(&self) -> (u16, SocketAddrV4) {
        (FOREIGN, SocketAddrV4::new(self.host.source(), 81))
    }
}
