//! What the node's claims want of the network's gateway, and what came of it.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use foghorn_crds::AddressClaim;
use foghorn_netio::clock;
use foghorn_portmap as portmap;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::Announcer;
use crate::{
    engine::Input,
    forwarding::{Forwarding, Wanted, status, wanted},
    report::{Report, Said, merged},
    snapshot::Fact,
};

impl Announcer {
    /// Says what is to be forwarded. Told together with what the plane wants of the node's network.
    pub(super) fn want_forwarding(
        &mut self,
        router: Option<Ipv4Addr>,
        announced: &BTreeMap<Ipv4Addr, Arc<str>>,
    ) {
        let (Some(config), Some(part)) = (&self.config, &self.part) else { return };
        let wanted = Wanted {
            interface: self.port.link().map(|link| link.name.clone()),
            config: Some(wanted::config(config)),
            gateway: wanted::gateway(config, router),
            claims: wanted::claims(config, &self.claims, announced),
            plane: wanted::plane(config, &self.claims),
        };
        let forwarding = self.forwarding.get_or_insert_with(|| {
            let rng = StdRng::seed_from_u64(self.rng.random());
            Forwarding::start(part.permit.clone(), rng, self.forwarding_metrics.clone())
        });
        forwarding.want(wanted);
    }

    /// Tells what came of a claim's ports, unless the claim's status says so already.
    pub(super) fn take_forwarded(&mut self, name: &Arc<str>, report: &portmap::Report) {
        self.stir();
        let (Some(claim), Some(grant)) = (self.claims.get(&**name), self.port.engine().granted_as(name))
        else {
            return;
        };
        let now = clock::now();
        let Some(time) = self.api_clock.timestamp(now) else { return };
        let before = claim.status.as_ref().map_or(&[][..], |status| &status.forwards);
        let at = |instant| self.api_clock.timestamp(instant);
        let Some(told) = status::told(report, before, claim.metadata.generation, time, at) else { return };
        let report = Report {
            claim: name.to_string(),
            uid: claim.metadata.uid.clone(),
            grant,
            said: Said::Forwards(told),
        };
        if let Some(told) = merged(AddressClaim::clone(claim), &report) {
            self.restart.keep(Fact::Claim(Arc::new(told)));
        }
        if let Some(part) = &mut self.part {
            part.reporter.push(report);
        }
    }

    /// Whether a claim that is being deleted keeps its address until the gateway forwards nothing to it any more.
    pub(super) fn holds_back(&mut self, name: &str, claim: &AddressClaim) -> bool {
        let Some(forwarding) =
            self.forwarding.as_mut().filter(|_| claim.metadata.deletion_timestamp.is_some())
        else {
            return false;
        };
        self.port.engine().announces(name) && forwarding.holds_back(clock::now(), claim)
    }

    /// Gives up the claims that have waited for the gateway.
    pub(super) fn end_forwarded(&mut self) {
        let Some(forwarding) = self.forwarding.as_mut().filter(|forwarding| forwarding.is_ending()) else {
            return;
        };
        for name in forwarding.ended(clock::now()) {
            if let Some(claim) = self.claims.get(&name) {
                self.port.tell(Input::Claim(claim.clone()));
            }
        }
    }
}

/// Waits for what came of a claim's ports.
pub(super) async fn reported(forwarding: &mut Option<Forwarding>) -> Option<(Arc<str>, portmap::Report)> {
    match forwarding {
        Some(forwarding) => forwarding.reported().await,
        None => std::future::pending().await,
    }
}
