//! The search for one gateway's description.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use foghorn_portmap::Fault;
use tokio::{
    net::UdpSocket,
    select,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    fault::words,
    outlet::Outlet,
    place::Place,
    ssdp::{self, GROUP, TARGETS},
};

/// Descriptions of one gateway that are looked at.
const MOST_PLACES: usize = 4;
/// How long to wait after a socket failed.
const PAUSE: Duration = Duration::from_millis(100);
/// When is sent what, from the start on, and when the search is over. Gateways answer a search by multicast after a second at
/// most, which is what MX says.
const STEPS: [(Duration, Step); 5] = [
    (Duration::ZERO, Step::Gateway),
    (Duration::from_millis(500), Step::Gateway),
    (Duration::from_millis(1000), Step::Group),
    (Duration::from_millis(1600), Step::Group),
    (Duration::from_millis(3200), Step::End),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Asks the gateway itself: not all of them answer.
    Gateway,
    /// Asks by multicast. Not all networks let it through.
    Group,
    End,
}

/// A search that goes on. Nobody is believed but the gateway.
pub(crate) struct Search {
    gateway: Ipv4Addr,
    port: u16,
    started: Instant,
    steps: std::slice::Iter<'static, (Duration, Step)>,
    /// From the claim's address.
    ours: UdpSocket,
    /// From an address of the node: its guard may drop answers to a search by multicast, which come from an address that was not
    /// asked, on their way to the claim's.
    of_node: Option<UdpSocket>,
    seen: Vec<Place>,
    /// Where an answer leads that is not believed.
    elsewhere: Option<Ipv4Addr>,
    /// Why the last one could not be sent.
    trouble: Option<io::Error>,
}

impl Search {
    pub(crate) fn start(outlet: &Outlet, gateway: Ipv4Addr, port: u16) -> Result<Self, Fault> {
        let ours = outlet.udp()?;
        let (of_node, trouble) = match outlet.udp_of_node() {
            Ok(socket) => (Some(socket), None),
            Err(error) => (None, Some(error)),
        };
        let (started, steps) = (Instant::now(), STEPS.iter());
        let (seen, elsewhere) = (Vec::new(), None);
        Ok(Self { gateway, port, started, steps, ours, of_node, seen, elsewhere, trouble })
    }

    /// Where the gateway says that a description of it is, each place once; none when the search is over.
    pub(crate) async fn next(&mut self) -> Option<Place> {
        while self.seen.len() < MOST_PLACES {
            let (due, step) = *self.steps.as_slice().first()?;
            match timeout_at(self.started + due, heard(&self.ours, self.of_node.as_ref(), self.gateway)).await
            {
                Ok(Heard::Here(place)) if self.seen.contains(&place) => {}
                Ok(Heard::Here(place)) => {
                    self.seen.push(place.clone());
                    return Some(place);
                }
                Ok(Heard::Elsewhere(address)) => {
                    self.elsewhere.get_or_insert(address);
                }
                Err(_due) => {
                    self.steps.next();
                    self.take(step).await;
                }
            }
        }
        None
    }

    /// Why nothing was found.
    pub(crate) fn silence(&self) -> Fault {
        if let Some(address) = self.elsewhere {
            return Fault::Elsewhere(address);
        }
        let trouble = self.trouble.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        Fault::Silent(words(&format!("no answer to a search by SSDP{trouble}")))
    }

    async fn take(&mut self, step: Step) {
        let (host, of_node) = match step {
            Step::Gateway => (self.gateway, None),
            Step::Group => (GROUP, self.of_node.as_ref()),
            Step::End => return,
        };
        let host = SocketAddrV4::new(host, self.port);
        for socket in of_node.into_iter().chain([&self.ours]) {
            for target in TARGETS {
                if let Err(error) = socket.send_to(ssdp::search(host, target).as_bytes(), host).await {
                    self.trouble = Some(error);
                }
            }
        }
    }
}

/// An answer to a search.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// Where the gateway says that its description is.
    Here(Place),
    /// A gateway says that it is at this address: another one, or the same by an address of its own.
    Elsewhere(Ipv4Addr),
}

impl Heard {
    fn read(gateway: Ipv4Addr, from: IpAddr, datagram: &[u8]) -> Option<Self> {
        let location = ssdp::location(datagram)?;
        match Place::parse(gateway, location) {
            Ok(place) => (from == gateway).then_some(Self::Here(place)),
            Err(_) => {
                let host = Place::host(location)?;
                (from == gateway || from == host).then_some(Self::Elsewhere(host))
            }
        }
    }
}

async fn heard(ours: &UdpSocket, of_node: Option<&UdpSocket>, gateway: Ipv4Addr) -> Heard {
    match of_node {
        Some(of_node) => select! {
            heard = heard_by(ours, gateway) => heard,
            heard = heard_by(of_node, gateway) => heard,
        },
        None => heard_by(ours, gateway).await,
    }
}

async fn heard_by(socket: &UdpSocket, gateway: Ipv4Addr) -> Heard {
    let mut buffer = [0; ssdp::LONGEST];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            // It is one of what was sent before, or the interface's, which may be back soon.
            sleep(PAUSE).await;
            continue;
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        if let Some(heard) = Heard::read(gateway, from.ip(), datagram) {
            return heard;
        }
    }
}
