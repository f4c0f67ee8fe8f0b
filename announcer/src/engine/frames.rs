//! Frames: DHCP replies to the claim that they are for, messages of the claims' clients onto the wire.

use std::net::Ipv4Addr;

use foghorn_clock::Instant;
use foghorn_dhcp::{
    self as dhcp, Destination, Transmit,
    frame::{self, Addressing, UdpChecksum},
    wire,
};
use foghorn_l2 as l2;
use ipnet::Ipv4Net;
use tracing::{debug, warn};

use super::{Engine, FrameKind, Output};

impl Engine {
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8], udp_checksum: UdpChecksum) {
        let Some(l2) = &mut self.l2 else { return };
        let datagram = match frame::parse(bytes, udp_checksum) {
            Ok(datagram) => datagram,
            Err(frame::FrameError::EtherType(_)) => {
                l2.handle_input(now, l2::Input::Frame(bytes));
                return;
            }
            Err(error) => {
                debug!(%error, "frame dropped");
                self.metrics.dropped("malformed");
                return;
            }
        };
        let reply = match wire::parse(datagram.payload) {
            Ok(reply) => reply,
            Err(error) => {
                debug!(%error, from = %datagram.addressing.from, "DHCP message dropped");
                self.metrics.dropped("malformed");
                return;
            }
        };
        let Some(name) = self.by_hardware_address.get(&reply.hardware_address).cloned() else {
            self.metrics.dropped("foreign");
            return;
        };
        self.metrics.received(reply.kind);
        self.tell(now, &name, dhcp::Input::Reply(&reply));
    }

    pub(super) fn transmit(&mut self, now: Instant, name: &str, transmit: Transmit) {
        let Some(held) = self.held.get_mut(name) else { return };
        let server = match transmit.to {
            Destination::Broadcast => {
                self.send(name, &transmit, frame::BROADCAST, Ipv4Addr::BROADCAST);
                return;
            }
            Destination::Server(server) => server,
        };
        let lease = held.granted.as_ref();
        let router = lease.and_then(|lease| lease.routers.first().copied());
        let subnet = lease
            .and_then(|lease| Some(Ipv4Net::with_netmask(lease.address, lease.subnet_mask?).ok()))
            .flatten();
        let own = self.link.iter().flat_map(|link| link.addresses.iter().copied());
        let on_link = subnet.is_none_or(|subnet| subnet.contains(&server))
            || own.clone().any(|(own, bits)| Ipv4Net::new(own, bits).is_ok_and(|net| net.contains(&server)));
        let next_hop = if on_link { server } else { router.unwrap_or(server) };
        // An address that is withdrawn is not put into anybody's ARP table again: the node asks in its own name.
        let withdrawn = held.announced != Some(transmit.from);
        let sender = own.map(|(own, _)| own).next().filter(|_| withdrawn).unwrap_or(transmit.from);
        held.waiting = Some((next_hop, transmit));
        self.by_next_hop.entry(next_hop).or_default().insert(name.to_owned());
        self.tell_l2(now, l2::Input::Resolve { sender, target: next_hop });
    }

    /// Sends what waited for the hardware address of `next_hop`. Without one the message is lost, as on any network;
    /// the client asks again in its time.
    pub(super) fn resolved(&mut self, next_hop: Ipv4Addr, mac: Option<[u8; 6]>) {
        for name in self.by_next_hop.remove(&next_hop).unwrap_or_default() {
            let Some(held) = self.held.get_mut(&name) else { continue };
            let Some((_, transmit)) = held.waiting.take_if(|(waiting_for, _)| *waiting_for == next_hop)
            else {
                continue;
            };
            if held.client.state() == dhcp::State::Released {
                held.released = true;
            }
            self.touched.insert(name.clone());
            match (mac, transmit.to) {
                (Some(mac), Destination::Server(server)) => self.send(&name, &transmit, mac, server),
                (None, _) => {
                    warn!(claim = name, %next_hop, kind = %transmit.kind, "no ARP answer from the DHCP server's next hop");
                    self.metrics.dropped("unresolved");
                }
                (Some(_), Destination::Broadcast) => {}
            }
        }
    }

    fn send(&mut self, name: &str, transmit: &Transmit, destination: [u8; 6], to: Ipv4Addr) {
        let Some(held) = self.held.get(name) else { return };
        let source = held.identity.hardware_address;
        let addressing = Addressing { source, destination, from: transmit.from, to };
        match frame::build(&addressing, &transmit.message) {
            Ok(frame) => {
                self.outputs.push_back(Output::Send { kind: FrameKind::Dhcp(transmit.kind), frame });
            }
            Err(error) => warn!(claim = name, %error, "DHCP message not sent"),
        }
    }
}
