//! What a claim may have, what is checked, announced and withdrawn.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::policy::{AddressPolicy, Refusal};
use foghorn_dhcp::{self as dhcp, Lease, MessageKind, Mode, Rejection, Verdict, wire::Reply};
use foghorn_l2 as l2;
use tracing::{info, warn};

use super::Engine;

/// The node with a claim's endpoint has so long to take the claim over. What it is told comes within milliseconds.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Why a claim may not have an address.
pub(super) struct Refused {
    /// What becomes of a lease of it. Where nobody here can have the address the server is told that it is in use, and
    /// gives another one (`Conflict`). One that only this plane does not allow is left to others (`Refused`).
    pub(super) verdict: Verdict,
    why: String,
}

/// What to do about a server that tells clients apart by their hardware addresses alone.
const ONE_PER_HARDWARE_ADDRESS: &str = "the DHCP server tells clients apart by their hardware addresses alone, and with \
    dhcp.identity NodeMac all have the interface's: set dhcp.identity to VirtualMac or VirtualChaddr";
/// What to do about an address that no Service may have.
const OUT_OF_RANGE: &str = "take it out of the range that the DHCP server gives out";
/// What to do about a server that gives one address twice.
const GIVEN_TWICE: &str = "give two DHCP servers of one network separate ranges; one that has lost its leases gives others \
    once these are renewed";

impl Engine {
    pub(super) fn checked(&mut self, now: Instant, address: Ipv4Addr, mut verdict: Verdict) {
        let Some(name) = self.by_address.get(&address).cloned() else { return };
        let Some(held) = self.held.get_mut(&*name) else { return };
        // The configuration may have changed since the probes began.
        if verdict == Verdict::Clear
            && let Some(lease) = held.client.lease().cloned()
            && let Err(refused) = self.usable(&name, &lease)
        {
            verdict = self.refuse(&name, &lease, refused);
        }
        if verdict != Verdict::Clear {
            if let Some(held) = self.held.get_mut(&*name) {
                held.checking = None;
            }
            self.by_address.remove(&address);
        }
        self.tell(now, &name, dhcp::Input::Checked(verdict));
    }

    pub(super) fn remark(&mut self, address: Ipv4Addr, remark: String) {
        let name = self.by_address.get(&address);
        if let Some(held) = name.and_then(|name| self.held.get_mut(&**name)) {
            held.remark = Some(remark);
        }
    }

    /// Whether the claim may have the leased address: the policy, and what this node itself knows.
    pub(super) fn usable(&self, name: &str, lease: &Lease) -> Result<(), Refused> {
        let Some(config) = &self.config else { return Ok(()) };
        let gateways = lease.routes.iter().map(|route| route.gateway);
        let routers: Vec<_> = lease.routers.iter().copied().chain(gateways).collect();
        let policy = AddressPolicy {
            allowed: &config.allowed_subnets,
            refused: &config.refused_networks,
            routers: &routers,
            server: Some(lease.server_id),
            prefix_length: lease.subnet_mask.and_then(|mask| ipnet::ipv4_mask_to_prefix(mask).ok()),
            in_use: self.has(name, lease.address),
        };
        let node_mac = self.held.get(name).is_some_and(|held| held.client.config().mode == Mode::NodeMac);
        let own = self.link.iter().flat_map(|link| &link.addresses).any(|(own, _)| *own == lease.address);
        if own && node_mac {
            let why = format!("{} is node {}'s own; {ONE_PER_HARDWARE_ADDRESS}", lease.address, self.node);
            return Err(Refused { verdict: Verdict::Shared, why });
        }
        if own {
            let why = format!("{} is an address of node {}; {OUT_OF_RANGE}", lease.address, self.node);
            return Err(Refused { verdict: Verdict::Conflict, why });
        }
        if let Some(other) = self.by_address.get(&lease.address).filter(|other| ***other != *name) {
            let cause = if node_mac { ONE_PER_HARDWARE_ADDRESS } else { GIVEN_TWICE };
            let why = format!("{} is the address of claim {other}; {cause}", lease.address);
            return Err(Refused { verdict: Verdict::Shared, why });
        }
        policy.check(lease.address).map_err(|refusal| match refusal {
            Refusal::NotAllowed(_) => Refused { verdict: Verdict::Refused, why: refusal.to_string() },
            Refusal::NotAHost { .. }
            | Refusal::ClusterNetwork { .. }
            | Refusal::Router(_)
            | Refusal::Server(_) => {
                Refused { verdict: Verdict::Conflict, why: format!("{refusal}; {OUT_OF_RANGE}") }
            }
        })
    }

    /// Whether the claim has the address already, on this node or on its last holder.
    fn has(&self, name: &str, address: Ipv4Addr) -> bool {
        let held = self.held.get(name);
        held.is_some_and(|held| [held.address(), held.inherited].contains(&Some(address)))
    }

    /// Whether an offer is one to ask for; if not, what the claim's client is told of it.
    pub(super) fn rejection(&mut self, name: &str, offer: &Reply) -> Option<Rejection> {
        let lease = Lease {
            subnet_mask: offer.subnet_mask,
            routers: offer.routers.clone(),
            routes: offer.routes.clone(),
            ..Lease::without_end(offer.address, offer.server_id?)
        };
        let refused = self.usable(name, &lease).err()?;
        let rejection = match refused.verdict {
            Verdict::Shared => Rejection::Shared,
            Verdict::Refused => Rejection::Refused,
            // It is asked for and declined, so that the server gives another one.
            Verdict::Clear | Verdict::Conflict => return None,
        };
        self.refuse(name, &lease, refused);
        Some(rejection)
    }

    pub(super) fn check(&mut self, now: Instant, name: &str, lease: &Lease) {
        // The server has done its part: another exchange may begin while this address is probed.
        self.starts.finish(name);
        if let Some(held) = self.held.get_mut(name) {
            held.granted = Some(lease.clone());
        }
        match self.usable(name, lease) {
            Ok(()) => {
                let Some(held) = self.held.get_mut(name) else { return };
                self.by_address.insert(lease.address, held.name.clone());
                held.checking = Some(lease.address);
                held.refused = false;
                let own = held.client.config().identity.hardware_address;
                self.tell_l2(now, l2::Input::Probe { address: lease.address, own });
            }
            Err(refused) => {
                let verdict = self.refuse(name, lease, refused);
                self.tell(now, name, dhcp::Input::Checked(verdict));
            }
        }
    }

    /// Notes why the claim may not have the leased address; gives what the server is told.
    fn refuse(&mut self, name: &str, lease: &Lease, Refused { verdict, why }: Refused) -> Verdict {
        warn!(claim = name, server = %lease.server_id, why, "address refused");
        if let Some(held) = self.held.get_mut(name) {
            held.remark = Some(why);
            held.refused = verdict != Verdict::Shared;
        }
        verdict
    }

    /// Gives up addresses that may no longer be had, such as one that has become this node's own. Those that are still being
    /// checked are looked at again at the end of the check.
    pub(super) fn check_again(&mut self, now: Instant) {
        let in_force = self.held.iter().filter(|(_, held)| held.address().is_some());
        let leases = in_force.filter_map(|(name, held)| Some((name.clone(), held.client.lease()?.clone())));
        for (name, lease) in leases.collect::<Vec<_>>() {
            if let Err(refused) = self.usable(&name, &lease) {
                self.refuse(&name, &lease, refused);
                self.tell(now, &name, dhcp::Input::Refused);
            }
        }
    }

    pub(super) fn announce(&mut self, now: Instant, name: &str, lease: &Lease) {
        let address = lease.address;
        let Some(held) = self.held.get_mut(name) else { return };
        held.granted = Some(lease.clone());
        if held.releasing {
            return;
        }
        if held.announced != Some(address) {
            (held.announced, held.kept) = (None, Some(address));
            held.client.set_answered_for(false);
        }
        held.checking = None;
        held.remark = None;
        held.refused = false;
        self.starts.finish(name);
        self.by_address.insert(address, held.name.clone());
        info!(claim = name, %address, server = %lease.server_id, "address in use");
        self.follow_endpoints(now, name);
    }

    /// Whether the claim may be announced from this node: with `externalTrafficPolicy: Local` only where it is served.
    #[must_use]
    pub fn serves(&self, claim: &str) -> bool {
        self.serving_nodes(claim).is_none_or(|nodes| nodes.contains(&self.node))
    }

    /// Answers for a claim's address where the claim is served, and keeps silent about it elsewhere. An address that moves
    /// to another serving node is answered for until that node has taken it over, or had the time to.
    pub(super) fn follow_endpoints(&mut self, now: Instant, name: &str) {
        let (serves, served) = (self.serves(name), self.is_served(name));
        let status = self.claims.get(name).and_then(|claim| claim.status.as_ref());
        let published = status.and_then(|status| status.address);
        let Some(held) = self.held.get_mut(name) else { return };
        let Some(address) = held.address() else { return };
        if serves {
            held.yields = None;
        } else if held.announced.is_some() && served {
            held.yields.get_or_insert(now + HAND_OVER);
        }
        let announces = serves || held.yields.is_some_and(|yields| served && now < yields);
        if announces == held.announced.is_some() {
            return;
        }
        (held.announced, held.kept) = if announces { (Some(address), None) } else { (None, Some(address)) };
        held.yields = None;
        held.client.set_answered_for(announces);
        let is_known = [published, held.inherited].contains(&Some(address));
        if !announces {
            info!(claim = name, %address, "address kept and not announced: no endpoint on this node");
            self.gates.forget(name);
            self.tell_l2(now, l2::Input::Withdraw(address));
        } else if is_known {
            info!(claim = name, %address, "address announced");
            self.answer_for(now, name, address);
        } else {
            self.gates.close(now, name, address);
        }
        self.touched.insert(name.to_owned());
    }

    /// Whether there is a node that serves the claim.
    fn is_served(&self, claim: &str) -> bool {
        self.serving_nodes(claim).is_none_or(|nodes| !nodes.is_empty())
    }

    /// The nodes that serve the claim; `None` if all do.
    fn serving_nodes(&self, claim: &str) -> Option<&[String]> {
        self.claims.get(claim)?.spec.serving_nodes.as_deref()
    }

    /// The server granted more time for the address, and may name another router.
    pub(super) fn renewed(&mut self, now: Instant, name: &str, lease: Lease) {
        let Some(held) = self.held.get_mut(name) else { return };
        let address = lease.address;
        held.granted = Some(lease);
        if held.announced != Some(address) || self.gates.waits(name) {
            return;
        }
        let is_first = held.client.counters().received.get(&MessageKind::Ack) == Some(&1);
        // Where switches bind ARP to leases, what was announced before is lost: the lease had the former node's MAC address.
        if is_first && held.client.config().mode == Mode::NodeMac {
            self.tell_l2(now, l2::Input::Withdraw(address));
        }
        self.answer_for(now, name, address);
    }

    /// Answers for the addresses that have waited for the node's proxy.
    pub(super) fn open_gates(&mut self, now: Instant) {
        while let Some((claim, address)) = self.gates.open(now) {
            info!(claim, %address, "address announced");
            self.answer_for(now, &claim, address);
        }
    }

    /// Answers for the claim's address from now on.
    fn answer_for(&mut self, now: Instant, name: &str, address: Ipv4Addr) {
        let lease = self.held.get(name).and_then(|held| held.granted.as_ref());
        let router = lease.and_then(Lease::router);
        self.tell_l2(now, l2::Input::Announce { address, router });
    }

    /// Stops to answer, to probe and to ask for a claim's address.
    pub(super) fn withdraw(&mut self, now: Instant, name: &str) {
        self.gates.forget(name);
        let Some(held) = self.held.get_mut(name) else { return };
        let addresses = [held.announced.take(), held.kept.take(), held.checking.take()];
        held.yields = None;
        for address in addresses.into_iter().flatten() {
            self.tell_l2(now, l2::Input::Withdraw(address));
            self.tell_l2(now, l2::Input::CancelProbe(address));
            if self.by_address.get(&address).is_some_and(|owner| **owner == *name) {
                self.by_address.remove(&address);
            }
        }
    }
}
