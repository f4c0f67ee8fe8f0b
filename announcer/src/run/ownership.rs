//! What this node holds, and what becomes of the plane's members.

use std::future::pending;

use foghorn_membership::Event;
use foghorn_netio::clock;
use tracing::{info, warn};

use super::{Announcer, Part, SETTLING};
use crate::{
    engine::{ApiTime, Input},
    events::Telling,
    metrics::Phase,
    ownership::News,
    report::Report,
    snapshot::Fact,
};

impl Announcer {
    /// Takes what is new of what this node holds.
    pub(super) fn follow(&mut self, news: News) {
        self.stir();
        let Some(part) = &mut self.part else { return };
        match news {
            News::Granted { claim, grant } => {
                let now = clock::now();
                if let (Some(time), Some(measured)) =
                    (self.api_clock.timestamp(now), self.api_clock.measured())
                {
                    self.port.tell(Input::ApiTime(ApiTime { at: now, time, measured }));
                }
                let status = self.claims.get(&*claim).and_then(|known| known.status.as_ref());
                let engine = self.port.engine();
                if !engine.holds(&claim)
                    && engine.serves(&claim)
                    && status.is_some_and(|status| status.lease.is_some())
                {
                    self.port.expect_announcement(claim.clone());
                }
                self.port.tell(Input::Granted { claim: &claim, grant });
            }
            News::Revoked { claim } => {
                part.reporter.revoke(&claim);
                self.port.tell(Input::Revoked { claim: &claim });
            }
            News::Event(event) => self.tell_event(event),
            News::Left | News::Ended => {}
        }
    }

    pub(super) fn tell_event(&mut self, event: Event) {
        let Some(part) = &self.part else { return };
        match event {
            Event::View(view) => {
                let nodes: Vec<_> = view.seats.iter().map(|seat| seat.node.as_str()).collect();
                info!(epoch = %view.epoch, coordinator = %view.coordinator, members = nodes.join(","), "view");
                self.restart.keep(Fact::View(view));
            }
            Event::Coordinating(epoch) => info!(%epoch, "this node assigns the plane's claims"),
            Event::Dead { seat, silent } => {
                warn!(node = seat.node, ?silent, "not heard any more; its claims go to others");
                self.metrics.failed_over(Phase::Detection, silent);
            }
            Event::Reassigned { after } => {
                info!(?after, "what was held by others that are lost is given to those that are there");
                self.metrics.failed_over(Phase::Decision, after);
            }
            Event::ForeignHand(why) => {
                self.teller.tell(Telling::foreign_hand(&self.args.namespace, &part.lease_name, why));
            }
            Event::Nowhere { claim, grant, why } => {
                let name = part.ownership.name(claim);
                let Some(claim) = name.and_then(|name| self.claims.get(&*name)) else { return };
                self.teller.tell(Telling::nowhere(claim, why));
                let now = clock::now();
                if let Some(time) = self.api_clock.timestamp(now) {
                    self.unassigned.push_back((now + SETTLING, Report::unassigned(claim, grant, why, time)));
                }
            }
        }
    }
}

pub(super) enum PartNews {
    /// What this node holds.
    Owned(News),
    /// A status was written.
    Written,
}

pub(super) async fn part_news(part: &mut Option<Part>) -> PartNews {
    let Some(Part { ownership, reporter, .. }) = part else { return pending().await };
    tokio::select! {
        news = ownership.news() => PartNews::Owned(news),
        () = reporter.finished() => PartNews::Written,
    }
}
