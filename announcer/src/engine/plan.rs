//! Brings claims from where they are to where they should be: taken in hand, given back, or let go.

use std::mem;

use foghorn_clock::Instant;
use foghorn_crds::ClaimState;
use foghorn_dhcp as dhcp;
use foghorn_l2::{self as l2, L2};
use foghorn_membership::Grant;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tracing::debug;

use super::{Engine, Output, held::Held, l2_config, starts::Starts};

impl Engine {
    pub(super) fn grant(&mut self, now: Instant, name: &str, grant: Grant) {
        debug!(claim = name, %grant, "claim granted");
        if self.grants.insert(name.to_owned(), grant).is_none() {
            self.plan(now, name);
        }
    }

    pub(super) fn revoke(&mut self, now: Instant, name: &str) {
        let Some(grant) = self.grants.remove(name) else { return };
        debug!(claim = name, %grant, "claim revoked");
        self.kept.remove(name);
        self.withdraw(now, name);
        self.starts.finish(name);
        self.forget(name);
        self.outputs.retain(|output| match output {
            Output::Send { claim, .. } => **claim != *name,
            Output::Conflict(conflict) => *conflict.claim != *name,
            Output::Stranger(stranger) => *stranger.claim != *name,
            Output::Report(report) => report.claim != name,
            Output::Join(_) | Output::Leave(_) => true,
        });
    }

    /// Forgets all that is in hand, without a word to anybody.
    pub(super) fn drop_all(&mut self) {
        for (name, held) in mem::take(&mut self.held) {
            if held.joined {
                self.outputs.push_back(Output::Leave(held.client.config().identity.hardware_address));
            }
            self.uncount(&name, &held);
        }
        self.outputs.retain(|output| !matches!(output, Output::Send { .. } | Output::Report(_)));
        self.recipients.clear();
        self.by_address.clear();
        self.gates.clear();
        self.by_next_hop.clear();
        self.starts = Starts::default();
        self.timers.clear();
        self.reports.clear();
        self.touched.clear();
        self.l2 = None;
    }

    pub(super) fn plan_all(&mut self, now: Instant) {
        let names: Vec<String> = self.claims.keys().cloned().collect();
        for name in names {
            self.plan(now, &name);
        }
    }

    /// Brings a claim from where it is to where it should be.
    pub(super) fn plan(&mut self, now: Instant, name: &str) {
        let (Some(config), Some(link)) = (&self.config, &self.link) else { return };
        let Some(mac) = link.mac.filter(|_| self.grants.contains_key(name)) else { return };
        if self.l2.is_none() {
            let rng = StdRng::seed_from_u64(self.rng.random());
            let mut l2 = L2::new(l2_config(config), mac, rng);
            l2.handle_input(now, l2::Input::SetPeers(self.peers.all()));
            self.l2 = Some(l2);
        }
        let claim = self.claims.get(name).filter(|claim| claim.spec.plane == config.plane).cloned();
        let wanted = claim.as_ref().is_some_and(|claim| claim.metadata.deletion_timestamp.is_none());
        match (claim, self.held.contains_key(name)) {
            (None, false) => {}
            // The finalizer was taken off by other hands: the lease goes back all the same.
            (None, true) => self.release(now, name),
            (Some(claim), false) => {
                let released =
                    claim.status.as_ref().and_then(|status| status.state) == Some(ClaimState::Released);
                if wanted {
                    self.begin(now, name, &claim);
                } else if !released {
                    self.begin(now, name, &claim);
                    self.release(now, name);
                }
            }
            (Some(claim), true) if wanted => {
                // A claim of the same name, made after the one before was released.
                if self.held.get(name).is_some_and(|held| held.released) {
                    self.forget(name);
                    self.begin(now, name, &claim);
                }
                self.configure(now, name, &claim);
                self.follow_endpoints(now, name);
                self.touched.insert(name.to_owned());
            }
            (Some(claim), true) => {
                // Not confirmed yet, and not taken up: the lease of the last holder is given back all the same.
                if self.held.get(name).is_some_and(Held::is_unconfirmed) {
                    self.forget(name);
                    self.begin(now, name, &claim);
                }
                self.release(now, name);
            }
        }
    }

    /// Withdraws a claim's address and gives its lease back.
    pub(super) fn release(&mut self, now: Instant, name: &str) {
        let Some(held) = self.held.get_mut(name) else { return };
        held.releasing = true;
        self.starts.finish(name);
        self.withdraw(now, name);
        self.tell(now, name, dhcp::Input::Release);
    }

    /// Takes a claim out of hand, but for what is announced and queued of it.
    pub(super) fn forget(&mut self, name: &str) {
        self.stop_waiting(name);
        let Some(held) = self.held.remove(name) else { return };
        let mac = held.client.config().identity.hardware_address;
        let had_it = self.recipients.owner(mac) == Some(name);
        self.recipients.disown(mac, name);
        self.recipients.expect(name, held.awaits, None);
        self.uncount(name, &held);
        if held.joined {
            self.outputs.push_back(Output::Leave(mac));
        }
        let waiting = |held: &Held| {
            had_it && held.fault.is_some() && held.client.config().identity.hardware_address == mac
        };
        for (other, held) in self.held.iter_mut().filter(|(_, held)| waiting(held)) {
            held.outdated = true;
            self.touched.insert(other.clone());
        }
        if let Some(armed) = held.armed {
            self.timers.remove(&(armed, name.to_owned()));
        }
        if let Some(due) = held.report.due {
            self.reports.remove(&(due, name.to_owned()));
        }
    }
}
