//! A node that has a gateway forward ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foghorn_announcer::{
    forwarding::{Forwarding, ForwardingMetrics, Wanted},
    report::Permit,
};
use foghorn_clock::Instant;
use foghorn_lab::Host;
use foghorn_portmap::{self as portmap, Config, Plane, Port, Protocol, Report, Standing};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    select,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use super::{GATEWAY, host_of_service, serve, tcp};
use crate::{address, task::Task, world::World};

/// A node that has the gateway forward ports to its Service, as an announcer does. When this is dropped it is gone, without a word
/// to the gateway.
#[derive(Debug)]
pub struct Forwarder {
    host: Host,
    source: Ipv4Addr,
    protocol: Protocol,
    lease: Duration,
    had: BTreeMap<Arc<str>, BTreeMap<Port, u16>>,
    wanted: UnboundedSender<Wanted>,
    told: Arc<Mutex<BTreeMap<Arc<str>, Report>>>,
    _forwarding: Task,
}

impl Forwarder {
    /// A new host with this address, and with the next hundred's for its Service. It asks by UPnP, and for an hour.
    #[must_use]
    pub fn new(world: &World, name: &str, last: u8) -> Self {
        let source = address(last + 100);
        Self::on(host_of_service(world, name, last, source), source)
    }

    /// The same, but it asks by this protocol, and for this long.
    #[must_use]
    pub fn asking(self, protocol: Protocol, lease: Duration) -> Self {
        Self { protocol, lease, ..self }
    }

    /// This node loses power. A new host takes its Service's address over, and knows what the gateway forwarded to its claims, as
    /// an announcer does from their status.
    #[must_use]
    pub fn lost_to(self, world: &World, name: &str, last: u8) -> Self {
        self.host.ip("link set eth0 down\n").unwrap();
        let source = self.source;
        let host = host_of_service(world, name, last, source);
        host.exec(&["arping", "-U", "-c", "1", "-I", "eth0", &source.to_string()]).unwrap();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let had = told.into_iter().map(|(claim, report)| (claim, had(&report))).collect();
        Self { had, ..Self::on(host, source).asking(self.protocol, self.lease) }
    }

    /// Serves a port of its Service from now on: it answers with the name of this host.
    pub fn serve(&self, port: u16) {
        serve(&self.host, SocketAddrV4::new(self.source, port), self.host.name().to_owned());
    }

    fn on(host: Host, source: Ipv4Addr) -> Self {
        let (wanted, mut wishes) = unbounded_channel();
        let told = Arc::<Mutex<BTreeMap<Arc<str>, Report>>>::default();
        let notes = Arc::clone(&told);
        let forwarding = Task::start(&host, move |mut stop| async move {
            let permit: Permit = Arc::new(|_| Instant::NEVER);
            let metrics = ForwardingMetrics::default();
            let mut forwarding = Forwarding::start(permit, StdRng::seed_from_u64(1), metrics);
            loop {
                select! {
                    Some(wanted) = wishes.recv() => forwarding.want(wanted),
                    Some((claim, report)) = forwarding.reported() => {
                        notes.lock().unwrap_or_else(PoisonError::into_inner).insert(claim, report);
                    }
                    _stop = &mut stop => return,
                }
            }
        });
        let (protocol, lease, had) = (Protocol::Igd, Duration::from_secs(3600), BTreeMap::new());
        Self { host, source, protocol, lease, had, wanted, told, _forwarding: forwarding }
    }

    /// Where the gateway forwards to.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// That is to be forwarded to its claim of this name: each port with the gateway's. None is left of any other claim of the plane.
    pub fn want(&self, claim: &str, ports: &[(u16, u16)], ending: bool) {
        let description = description(claim);
        let of_claim = portmap::Wanted {
            address: self.source,
            description: description.clone(),
            lease: Some(self.lease),
            secret: [7; 32],
            ports: ports.iter().map(|(port, external)| (tcp(*port), *external)).collect(),
            had: self.had.get(claim).cloned().unwrap_or_default(),
            ending,
        };
        let config = Config {
            protocols: vec![self.protocol],
            another: false,
            ports: vec![RangeInclusive::new(1024, 65535)],
        };
        let plane = Plane {
            reserved: BTreeMap::new(),
            prefix: PREFIX.to_owned(),
            descriptions: BTreeSet::from([description]),
        };
        let wanted = Wanted {
            interface: Some("eth0".to_owned()),
            config: Some(config),
            gateway: Some(GATEWAY),
            claims: BTreeMap::from([(claim.into(), of_claim)]),
            plane,
        };
        self.wanted.send(wanted).unwrap();
    }

    /// What was told of a claim last.
    #[must_use]
    pub fn told(&self, claim: &str) -> Report {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(claim).cloned().unwrap_or_default()
    }
}

/// The gateway's ports of a claim's.
fn had(report: &Report) -> BTreeMap<Port, u16> {
    let forwarded = |(port, standing): (&Port, &Standing)| match standing {
        Standing::Forwarded { external, .. } => Some((*port, *external)),
        _ => None,
    };
    report.ports.iter().filter_map(forwarded).collect()
}

/// What the descriptions of the plane's claims begin with.
const PREFIX: &str = "foghorn 1a2b3c4d ";

/// How mappings of a claim of this name are described.
#[must_use]
pub fn description(claim: &str) -> String {
    let tag = claim.bytes().fold(0, |tag: u32, byte| tag.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{PREFIX}{tag:08x} {claim}")
}
