//! The plane's claims, as the API server tells of them, or what was written down before a restart.

use std::sync::Arc;

use foghorn_crds::AddressClaim;
use foghorn_netio::{Netlink, clock};
use tracing::warn;

use super::Announcer;
use crate::{engine::Input, snapshot::Fact, watch::ClaimNews};

impl Announcer {
    pub(super) fn take_claim(&mut self, news: ClaimNews) {
        self.stir();
        match news {
            ClaimNews::Present(claim) => {
                if let Some(name) = &claim.metadata.name {
                    self.restart.confirm(name);
                }
                self.restart.keep(Fact::Claim(claim.clone()));
                self.meet_claim(claim);
            }
            // What was written down of it before a restart stays in force too.
            ClaimNews::Unreadable(name) => self.restart.confirm(&name),
            ClaimNews::Gone(name) => self.claim_gone(&name),
            ClaimNews::Complete => {
                self.restart.gone().iter().for_each(|name| self.claim_gone(name));
                self.restart.keep(Fact::ClaimsComplete);
                self.know_all_claims();
            }
        }
    }

    fn meet_claim(&mut self, claim: Arc<AddressClaim>) {
        if let Some(name) = claim.metadata.name.clone() {
            let replaced = self.part.as_ref().is_some_and(|part| part.ownership.replaces(&claim));
            if replaced {
                self.claim_gone(&name);
            }
            self.claims.insert(name, claim.clone());
        }
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        if !self.holds_back(name, &claim) {
            self.port.tell(Input::Claim(claim.clone()));
        }
        if let Some(granted) = self.part.as_mut().and_then(|part| part.ownership.claim(&claim)) {
            self.follow(granted);
        }
    }

    fn know_all_claims(&mut self) {
        self.claims_complete = true;
        self.health.set("claims", true, "");
        if let Some(part) = &self.part {
            part.ownership.set_ready(true);
        }
    }

    /// Goes on by what was written down before a restart, if the API server does not tell of configuration and claims. What it
    /// has told stays.
    pub(super) async fn restore(&mut self, netlink: &Netlink) -> anyhow::Result<()> {
        let is_told = self.config.is_some() && self.claims_complete;
        let Some(snapshot) = self.restart.take(clock::now(), is_told) else { return Ok(()) };
        warn!(
            claims = snapshot.claims.len(),
            "the API server does not tell of configuration and claims: going on by what was written down before the restart"
        );
        if let Some(moment) = snapshot.time {
            self.api_clock.remember(moment.at, moment.time);
        }
        if self.config.is_none() {
            self.take_config(snapshot.config, netlink).await?;
        }
        if let (Some(part), Some((base, highest))) = (&self.part, snapshot.view) {
            part.ownership.restore(base, highest);
        }
        if self.claims_complete {
            return Ok(());
        }
        for claim in snapshot.claims {
            if claim.metadata.name.as_ref().is_some_and(|name| !self.claims.contains_key(name)) {
                self.meet_claim(Arc::new(claim));
            }
        }
        self.know_all_claims();
        Ok(())
    }

    /// A claim is no more. What can still be said for it, such as a RELEASE, is said before its right ends; another claim
    /// of the same name has to be granted anew.
    fn claim_gone(&mut self, name: &str) {
        self.restart.keep(Fact::ClaimGone(name.to_owned()));
        self.claims.remove(name);
        self.port.tell(Input::ClaimGone(name));
        self.act();
        if let Some(part) = &mut self.part {
            part.ownership.claim_gone(name);
            part.reporter.revoke(name);
        }
        self.port.tell(Input::Revoked { claim: name });
    }
}
