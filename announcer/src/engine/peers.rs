//! The plane's other announcers: two of us with one address are no conflict.

use std::collections::{BTreeMap, BTreeSet};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, hardware_address};
use foghorn_l2 as l2;

use super::Engine;

/// Hardware addresses of the plane's other announcers.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Of those that are there.
    announcers: BTreeSet<[u8; 6]>,
    /// By claims, of the other node that holds it or held it last, as the claim's status told.
    holders: BTreeMap<String, [u8; 6]>,
    /// The same addresses, and how many claims each has.
    counts: BTreeMap<[u8; 6], usize>,
}

impl Peers {
    pub(super) fn contains(&self, mac: [u8; 6]) -> bool {
        self.announcers.contains(&mac) || self.counts.contains_key(&mac)
    }

    pub(super) fn all(&self) -> BTreeSet<[u8; 6]> {
        self.announcers.iter().chain(self.counts.keys()).copied().collect()
    }

    /// Another node holds a claim, with this hardware address. Whether that changes who the holders are.
    fn meet_holder(&mut self, claim: &str, mac: [u8; 6]) -> bool {
        if self.holders.get(claim) == Some(&mac) {
            return false;
        }
        let gone = self.forget_holder(claim);
        self.holders.insert(claim.to_owned(), mac);
        let count = self.counts.entry(mac).or_default();
        *count += 1;
        gone || *count == 1
    }

    /// The claim is no more. Whether that changes who the holders are.
    fn forget_holder(&mut self, claim: &str) -> bool {
        let Some(mac) = self.holders.remove(claim) else { return false };
        let Some(count) = self.counts.get_mut(&mac) else { return false };
        *count -= 1;
        let gone = *count == 0;
        if gone {
            self.counts.remove(&mac);
        }
        gone
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
        let (Some(name), Some(status)) = (&claim.metadata.name, &claim.status) else { return };
        let another = status.holder.as_ref().is_some_and(|holder| *holder != self.node);
        let mac = status.holder_hardware_address.as_ref().filter(|_| another);
        if let Some(mac) = mac.and_then(|text| hardware_address::parse(text).ok())
            && self.peers.meet_holder(name, mac)
        {
            self.tell_l2(now, l2::Input::SetPeers(self.peers.all()));
        }
    }

    /// The claim is no more.
    pub(super) fn forget_holder(&mut self, now: Instant, claim: &str) {
        if self.peers.forget_holder(claim) {
            self.tell_l2(now, l2::Input::SetPeers(self.peers.all()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_holder_is_a_peer_until_its_last_claim_is_deleted() {
        let (old, new) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut peers = Peers::default();
        assert!(peers.meet_holder("shop.web.ipv4", old));
        assert!(!peers.meet_holder("shop.web.ipv4", old));
        assert!(!peers.meet_holder("shop.api.ipv4", old));
        assert!(peers.meet_holder("shop.api.ipv4", new));
        assert_eq!(peers.all(), BTreeSet::from([old, new]));
        assert!(peers.forget_holder("shop.web.ipv4"));
        assert!(!peers.forget_holder("shop.web.ipv4"));
        assert!(peers.contains(new) && !peers.contains(old));
    }
}
