//! When a new address is first answered for.
//!
//! A packet for an address that the node's proxy does not know yet is forwarded untranslated, and connection tracking
//! keeps that decision for as long as the client goes on sending from the same port. So an address is published as soon
//! as it is held, and answered for when the proxy has had it. A take-over never waits: the proxies know the address.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;

/// After so long an address is answered for, whatever is known of the proxy.
const LONGEST: Duration = Duration::from_secs(2);
/// How long a proxy that cannot be asked is given from the publication. kube-proxy brings changes to the kernel once a second.
const USUAL: Duration = Duration::from_secs(1);

/// What is known of the node's proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proxy {
    /// It does not answer: there is none, or another one than kube-proxy.
    #[default]
    Unknown,
    /// It answers.
    Seen {
        /// When it last learned of a change.
        queued: Instant,
        /// When it last finished bringing changes to the kernel.
        synced: Instant,
    },
}

/// The addresses that are held and not answered for yet, by claim.
#[derive(Debug, Default)]
pub(super) struct Gates {
    closed: BTreeMap<String, Gate>,
    proxy: Proxy,
}

#[derive(Debug)]
struct Gate {
    address: Ipv4Addr,
    since: Instant,
    /// When the claim's status with this address came back from the API server.
    published: Option<Instant>,
    /// The first change that the proxy learned of after that.
    queued: Option<Instant>,
}

impl Gates {
    /// A claim has an address that was never published.
    pub(super) fn close(&mut self, now: Instant, claim: &str, address: Ipv4Addr) {
        let gate = Gate { address, since: now, published: None, queued: None };
        self.closed.insert(claim.to_owned(), gate);
    }

    /// The claim's status has this address now.
    pub(super) fn published(&mut self, now: Instant, claim: &str, address: Ipv4Addr) {
        if let Some(gate) = self.closed.get_mut(claim).filter(|gate| gate.address == address) {
            gate.published.get_or_insert(now);
        }
    }

    /// What is known of the proxy now.
    pub(super) fn see(&mut self, proxy: Proxy) {
        self.proxy = proxy;
        let Proxy::Seen { queued, .. } = proxy else { return };
        for gate in self.closed.values_mut() {
            if gate.published.is_some_and(|published| queued >= published) {
                gate.queued.get_or_insert(queued);
            }
        }
    }

    /// The claim has the address no longer.
    pub(super) fn forget(&mut self, claim: &str) {
        self.closed.remove(claim);
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.closed.clear();
    }

    /// How many addresses wait for the proxy.
    pub(super) fn waiting(&self) -> usize {
        self.closed.len()
    }

    /// Whether the claim's address waits for it.
    pub(super) fn waits(&self, claim: &str) -> bool {
        self.closed.contains_key(claim)
    }

    /// The next claim whose address is to be answered for from now on.
    pub(super) fn open(&mut self, now: Instant) -> Option<(String, Ipv4Addr)> {
        let mut gates = self.closed.iter();
        let claim = gates.find(|(_, gate)| gate.opens(self.proxy) <= now).map(|(claim, _)| claim.clone())?;
        let gate = self.closed.remove(&claim)?;
        Some((claim, gate.address))
    }

    /// When [`open`](Self::open) has one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.closed.values().map(|gate| gate.opens(self.proxy)).min()
    }
}

impl Gate {
    /// When it opens, as far as is known.
    fn opens(&self, proxy: Proxy) -> Instant {
        let at_last = self.since + LONGEST;
        let early = match (proxy, self.published, self.queued) {
            (Proxy::Seen { synced, .. }, _, Some(queued)) if synced >= queued => Some(synced),
            (Proxy::Unknown, Some(published), _) => Some(published + USUAL),
            (Proxy::Seen { .. }, ..) | (Proxy::Unknown, None, _) => None,
        };
        early.map_or(at_last, |early| early.min(at_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 60);

    fn at(milliseconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(100) + Duration::from_millis(milliseconds)
    }

    fn closed() -> Gates {
        let mut gates = Gates::default();
        gates.close(at(0), "web", ADDRESS);
        gates
    }

    fn seen(queued: u64, synced: u64) -> Proxy {
        Proxy::Seen { queued: at(queued), synced: at(synced) }
    }

    #[test]
    fn an_address_is_answered_for_once_the_proxy_has_had_it() {
        let mut gates = closed();
        gates.published(at(50), "web", ADDRESS);
        gates.see(seen(20, 300));
        assert_eq!(gates.open(at(310)), None, "that change was queued before the publication");
        gates.see(seen(120, 300));
        assert_eq!(gates.open(at(320)).map(|(claim, _)| claim).as_deref(), Some("web"));
        assert_eq!(gates.open(at(330)), None);
        assert_eq!(gates.waiting(), 0);
    }

    #[test]
    fn a_later_change_does_not_put_an_address_off() {
        let mut gates = closed();
        gates.published(at(50), "web", ADDRESS);
        gates.see(seen(120, 40));
        gates.see(seen(500, 400));
        assert_eq!(gates.open(at(510)), Some(("web".to_owned(), ADDRESS)));
    }

    #[test]
    fn a_proxy_that_cannot_be_asked_has_a_second() {
        let mut gates = closed();
        assert_eq!(gates.due(), Some(at(2_000)));
        gates.published(at(50), "web", ADDRESS);
        assert_eq!(gates.due(), Some(at(1_050)));
        assert_eq!(gates.open(at(1_049)), None);
        assert!(gates.open(at(1_050)).is_some());
    }

    #[test]
    fn an_address_waits_two_seconds_at_most() {
        let mut gates = closed();
        gates.see(seen(0, 0));
        assert_eq!((gates.due(), gates.open(at(1_999))), (Some(at(2_000)), None));
        assert!(gates.open(at(2_000)).is_some());
        let mut gates = closed();
        gates.published(at(1_900), "web", ADDRESS);
        assert_eq!(gates.due(), Some(at(2_000)));
    }

    #[test]
    fn another_address_of_the_claim_is_another_publication() {
        let mut gates = closed();
        gates.published(at(50), "web", Ipv4Addr::new(203, 0, 113, 61));
        assert_eq!(gates.due(), Some(at(2_000)));
        gates.forget("web");
        assert_eq!(gates.waiting(), 0);
    }
}
