//! Frames: DHCP replies to the claim that they are for, messages of the claims' clients onto the wire.

use std::{collections::btree_map::Entry, net::Ipv4Addr, sync::Arc};

use foghorn_clock::Instant;
use foghorn_crds::{GuardMode, HostAddressMode};
use foghorn_dhcp::{
    self as dhcp, Destination, MessageKind, Mode, Transmit,
    frame::{self, Addressing, UdpChecksum},
    wire::{self, ReplyKind},
};
use foghorn_l2 as l2;
use ipnet::Ipv4Net;
use tracing::{debug, warn};

use super::{Engine, FrameKind, Output};
use crate::host_address;

impl Engine {
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8], udp_checksum: UdpChecksum) {
        if l2::EchoRequest::is_meant(bytes) {
            self.answer_ping(now, bytes);
            return;
        }
        let Some(l2) = &mut self.l2 else { return };
        let datagram = match frame::parse(bytes, udp_checksum) {
            Ok(datagram) => datagram,
            Err(frame::FrameError::EtherType(_)) => {
                l2.handle_input(now, l2::Input::Frame(bytes));
                self.hear_arp(now, bytes);
                return;
            }
            Err(frame::FrameError::Ports { destination_port: frame::SERVER_PORT, .. }) => {
                self.hear_client(now, bytes, udp_checksum);
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
                // Whoever waits for it shall know why it is no answer.
                let waiting = wire::addressee(datagram.payload).and_then(|(xid, mac)| {
                    let name = self.recipients.find(mac, xid)?;
                    self.awaits(name, xid).then(|| name.to_owned())
                });
                if let Some(name) = waiting {
                    self.tell(now, &name, dhcp::Input::Malformed(&error));
                }
                return;
            }
        };
        let Some(name) = self.recipients.find(reply.hardware_address, reply.xid).map(str::to_owned) else {
            self.metrics.dropped("foreign");
            return;
        };
        self.metrics.received(reply.kind);
        let link = self.link.as_ref();
        let to_node = link.is_some_and(|link| link.mac == Some(datagram.addressing.destination));
        if to_node && !datagram.addressing.to.is_broadcast() {
            self.metrics.forwardable();
        }
        let is_offer = reply.kind == ReplyKind::Offer && self.awaits(&name, reply.xid);
        let rejection = if is_offer { self.rejection(&name, &reply) } else { None };
        let input = match rejection {
            Some(why) => dhcp::Input::Reject(&reply, why),
            None => dhcp::Input::Reply(&reply),
        };
        self.tell(now, &name, input);
    }

    /// Answers a ping of an address that is held. A DHCP server that has lost its leases, and looks by ping whether an
    /// address is in use, would give it to another host.
    fn answer_ping(&mut self, now: Instant, bytes: &[u8]) {
        let mac = self.link.as_ref().and_then(|link| link.mac);
        let (Some(mac), Some(l2), Some(config)) = (mac, &self.l2, &self.config) else { return };
        // The kernel answers for an address that is on the interface too, unless a guard keeps pings from it.
        let open = config.guard == GuardMode::Off && config.host_address.mode == HostAddressMode::Fenced;
        let kernels = if open { host_address::limit(&config.host_address) } else { 0 };
        let is_kernels = |address| l2.announced().take(kernels).any(|kernels| kernels == address);
        // An address that is still probed may be another host's.
        let answers = |address| l2.announces(address) && !is_kernels(address);
        let answer = self.echoes.answer(now, bytes, mac, answers);
        let claim = answer.and_then(|(address, frame)| Some((self.by_address.get(&address)?.clone(), frame)));
        if let Some((claim, frame)) = claim {
            self.outputs.push_back(Output::Send { kind: FrameKind::Echo, claim, frame });
        }
    }

    fn awaits(&self, name: &str, xid: u32) -> bool {
        self.held.get(name).is_some_and(|held| held.client.expects(xid))
    }

    pub(super) fn transmit(&mut self, now: Instant, name: &str, transmit: Transmit) {
        let Some(held) = self.held.get_mut(name) else { return };
        // One frame that ends a lease does less harm than a lease that does not end.
        if let Some(fault) = held.fault_at(now).filter(|_| transmit.kind != MessageKind::Release) {
            debug!(claim = name, why = fault.message, kind = %transmit.kind, "DHCP message not sent");
            self.metrics.dropped("hardware address");
            return;
        }
        held.strangers.speak(&transmit);
        let finds_out = held.client.config().finds_mode && !self.carriage.has_passed(name);
        if finds_out && transmit.mode == Mode::VirtualMac {
            held.tried.get_or_insert(now);
        }
        let server = match transmit.to {
            Destination::Broadcast => {
                self.send(name, &transmit, frame::BROADCAST, Ipv4Addr::BROADCAST);
                return;
            }
            Destination::Server(server) => server,
        };
        let own = self.link.iter().flat_map(|link| link.addresses.iter().copied());
        let on_link =
            own.clone().any(|(own, bits)| Ipv4Net::new(own, bits).is_ok_and(|net| net.contains(&server)));
        let told = held.granted.as_ref().and_then(|lease| lease.next_hop(server)).filter(|_| !on_link);
        let next_hop = told.unwrap_or(server);
        // An address that is withdrawn is not put into anybody's ARP table again: the node asks in its own name.
        let withdrawn = held.announced != Some(transmit.from);
        let sender = own.map(|(own, _)| own).next().filter(|_| withdrawn).unwrap_or(transmit.from);
        self.wait(name, next_hop, transmit);
        self.tell_l2(now, l2::Input::Resolve { sender, target: next_hop });
    }

    fn wait(&mut self, name: &str, next_hop: Ipv4Addr, transmit: Transmit) {
        self.stop_waiting(name);
        let Some(held) = self.held.get_mut(name) else { return };
        held.waiting = Some((next_hop, transmit));
        self.by_next_hop.entry(next_hop).or_default().insert(held.name.clone());
    }

    /// Gives up what waits for the hardware address of its next hop.
    pub(super) fn stop_waiting(&mut self, name: &str) {
        let waiting = self.held.get_mut(name).and_then(|held| held.waiting.take());
        if let Some((next_hop, _)) = waiting
            && let Entry::Occupied(mut names) = self.by_next_hop.entry(next_hop)
        {
            names.get_mut().remove(name);
            if names.get().is_empty() {
                names.remove();
            }
        }
    }

    /// Sends what waited for the hardware address of `next_hop`. Without one the message is lost, as on any network;
    /// the client asks again in its time.
    pub(super) fn resolved(&mut self, next_hop: Ipv4Addr, mac: Option<[u8; 6]>) {
        for name in self.by_next_hop.remove(&next_hop).unwrap_or_default() {
            let Some(held) = self.held.get_mut(&*name) else { continue };
            let Some((_, transmit)) = held.waiting.take() else { continue };
            if held.client.state() == dhcp::State::Released {
                held.released = true;
            }
            self.touched.insert((*name).to_owned());
            match (mac, transmit.to) {
                (Some(mac), Destination::Server(server)) => self.send(&name, &transmit, mac, server),
                (None, _) => {
                    warn!(claim = &*name, %next_hop, kind = %transmit.kind, "no ARP answer from the DHCP server's next hop");
                    self.metrics.dropped("unresolved");
                }
                (Some(_), Destination::Broadcast) => {}
            }
        }
    }

    /// Passes an ARP frame on in the name of the claim that it speaks for; one that speaks for none is not sent.
    pub(super) fn send_arp(&mut self, kind: l2::Kind, address: Ipv4Addr, frame: Vec<u8>) {
        let of_address = self.by_address.get(&address);
        let claim = of_address.or_else(|| self.asks(&frame).filter(|_| kind == l2::Kind::Request));
        match claim.cloned() {
            Some(claim) => self.outputs.push_back(Output::Send { kind: FrameKind::Arp(kind), claim, frame }),
            None => debug!(%address, ?kind, "ARP frame not sent: it speaks for no claim"),
        }
    }

    /// A claim with a message that waits for the answer to this request. Once its address is withdrawn, the request has
    /// another one for its sender.
    fn asks(&self, frame: &[u8]) -> Option<&Arc<str>> {
        let target = l2::ArpFrame::parse(frame).ok()?.target_ip;
        self.by_next_hop.get(&target)?.first()
    }

    fn send(&mut self, name: &str, transmit: &Transmit, destination: [u8; 6], to: Ipv4Addr) {
        let Some(held) = self.held.get(name) else { return };
        let own = self.link.as_ref().and_then(|link| link.mac).filter(|_| transmit.mode != Mode::VirtualMac);
        let source = own.unwrap_or(held.client.config().identity.hardware_address);
        let addressing = Addressing { source, destination, from: transmit.from, to };
        match frame::build(&addressing, &transmit.message) {
            Ok(frame) => {
                let (kind, claim) = (FrameKind::Dhcp(transmit.kind), held.name.clone());
                self.outputs.push_back(Output::Send { kind, claim, frame });
            }
            Err(error) => warn!(claim = name, %error, "DHCP message not sent"),
        }
    }
}
