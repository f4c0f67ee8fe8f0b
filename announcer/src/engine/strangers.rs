//! Other hosts that are heard with the MAC address of a claim.
//!
//! A derived one belongs to no other host by chance. So that host is a copy of this cluster, or wants to be taken for the
//! claim: people are told, and the claim goes on. Where an annotation gave the address, the other host may be its owner.

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_dhcp::{
    Transmit,
    frame::{self, UdpChecksum},
    wire,
};
use foghorn_l2::{self as l2, arp::Operation};

use super::{Engine, Output, Stranger};

/// Announcers that hand a claim over may both ask the server for it, for less than this time.
const HANDOVER: Duration = Duration::from_secs(10);
/// What was heard before this time says nothing of what is heard now.
const RECENT: Duration = Duration::from_secs(600);
/// The same is not said again within this time.
const AGAIN: Duration = Duration::from_secs(60);
/// How a message from a client begins: BOOTREQUEST, Ethernet, six bytes of address.
const FROM_CLIENT: [u8; 3] = [1, 1, 6];

/// What was heard of another host with a claim's MAC address.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The transaction of the claim's own last message: a network may send it back.
    own: Option<u32>,
    /// When another client's message was heard first.
    first: Option<Instant>,
    told: Option<Instant>,
}

impl Heard {
    /// The claim sends this itself.
    pub(super) fn speak(&mut self, transmit: &Transmit) {
        self.own = wire::addressee(&transmit.message).map(|(transaction, _)| transaction);
    }

    /// Whether a message of that transaction is certainly another host's.
    fn is_foreign(&mut self, now: Instant, transaction: u32) -> bool {
        if self.own == Some(transaction) {
            return false;
        }
        let first = self.first.filter(|first| now - *first < RECENT).unwrap_or(now);
        self.first = Some(first);
        now - first >= HANDOVER
    }

    /// Whether people are to be told now.
    fn is_news(&mut self, now: Instant) -> bool {
        let is_news = self.told.is_none_or(|told| now - told >= AGAIN);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }
}

impl Engine {
    /// ARP with the MAC address of a claim: no announcer sends that. A switch or access point that knows the lease does, where
    /// it answers for the claim's own address.
    pub(super) fn hear_arp(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(arp) = l2::ArpFrame::parse(bytes) else { return };
        let mac = arp.sender_mac;
        let Some(name) = self.recipients.owner(mac).map(str::to_owned) else { return };
        let is_its_own = self.by_address.get(&arp.sender_ip).is_some_and(|claim| **claim == *name);
        if arp.operation == Operation::Reply && is_its_own {
            return;
        }
        self.tell_of_stranger(now, &name, mac);
        // The claim's frames would lead the switches astray. Whoever speaks with a derived address wants to be believed, and
        // is not.
        if self.claims.get(&name).is_some_and(|claim| claim.spec.dhcp.hardware_address.is_some()) {
            self.make_way(now, &name, arp.sender_ip, mac);
        }
    }

    /// A message to DHCP servers, from a client with the MAC address of a claim.
    pub(super) fn hear_client(&mut self, now: Instant, bytes: &[u8], udp_checksum: UdpChecksum) {
        let Ok(datagram) = frame::parse_request(bytes, udp_checksum) else { return };
        let source = datagram.addressing.source;
        let is_own = self.link.as_ref().is_some_and(|link| link.mac == Some(source));
        if is_own || self.peers.contains(source) || !datagram.payload.starts_with(&FROM_CLIENT) {
            return;
        }
        let Some((transaction, mac)) = wire::addressee(datagram.payload) else { return };
        let Some(name) = self.recipients.owner(mac).map(str::to_owned) else { return };
        let held = self.held.get_mut(&name);
        if held.is_some_and(|held| held.strangers.is_foreign(now, transaction)) {
            self.tell_of_stranger(now, &name, mac);
        }
    }

    fn tell_of_stranger(&mut self, now: Instant, name: &str, mac: [u8; 6]) {
        let Some(held) = self.held.get_mut(name).filter(|held| !held.releasing) else { return };
        if held.strangers.is_news(now) {
            let claim = held.name.clone();
            self.outputs.push_back(Output::Stranger(Stranger { claim, mac }));
        }
    }
}
