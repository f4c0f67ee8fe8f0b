//! The plane's other announcers: two of us with one address are no conflict.

use std::collections::BTreeSet;

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, hardware_address};
use foghorn_l2 as l2;

use super::Engine;

/// Hardware addresses of the plane's other announcers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Of those that are there.
    announcers: BTreeSet<[u8; 6]>,
    /// Of those that hold claims or held them, as the claims' statuses told.
    holders: BTreeSet<[u8; 6]>,
}

impl Peers {
    pub(super) fn contains(&self, mac: [u8; 6]) -> bool {
        self.announcers.contains(&mac) || self.holders.contains(&mac)
    }

    pub(super) fn all(&self) -> BTreeSet<[u8; 6]> {
        self.announcers.union(&self.holders).copied().collect()
    }
}

impl Engine {
    pub(super) fn meet_announcers(&mut self, now: Instant, announcers: BTreeSet<[u8; 6]>) {
        if self.peers.announcers != announcers {
            self.peers.announcers = announcers;
            self.tell_l2(now, l2::Input::SetPeers(self.peers.all()));
        }
    }

    /// Learns the hardware address of another node that holds the claim, or held it.
    pub(super) fn meet_holder(&mut self, now: Instant, claim: &AddressClaim) {
        let Some(status) = &claim.status else { return };
        let another = status.holder.as_ref().is_some_and(|holder| *holder != self.node);
        let mac = status.holder_hardware_address.as_ref().filter(|_| another);
        if let Some(mac) = mac.and_then(|text| hardware_address::parse(text).ok())
            && self.peers.holders.insert(mac)
        {
            self.tell_l2(now, l2::Input::SetPeers(self.peers.all()));
        }
    }
}
