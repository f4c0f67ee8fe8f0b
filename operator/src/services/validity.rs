//! How long what a claim says counts, where no announcer is left to end it.

use std::time::Duration;

use foghorn_crds::{AddressClaim, NetworkPlane};
use k8s_openapi::jiff::Timestamp;

/// For so long an address stays published after its lease was seen to have ended. An announcer that runs withdraws it at the
/// end itself; what it wrote of a renewal may be on its way for ten seconds, its clock is not ours, and after an outage of
/// the API server all announcers write at once.
const SLACK: Duration = Duration::from_secs(30);
/// For so long a holder without an announcer is not told of: a Pod is replaced, or a node restarts, in less.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes where announcers of a plane run, as far as the plane's status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcers<'a>(Option<&'a [String]>);

impl<'a> Announcers<'a> {
    /// Those of `plane`: the members of its view. A view outlives its members if all of them are lost at once.
    pub(crate) fn of(plane: &'a NetworkPlane) -> Self {
        let status = plane.status.as_ref();
        let ready =
            status.and_then(|status| status.nodes.as_deref()).and_then(|nodes| nodes.split('/').next());
        Self(match (status, ready) {
            (_, Some("0")) => Some(&[]),
            (Some(status), Some(_)) => Some(&status.members),
            _ => None,
        })
    }

    /// Whether one runs on the node. So it is taken to be where nothing is known.
    pub(crate) fn run_on(self, node: &str) -> bool {
        self.0.is_none_or(|nodes| nodes.iter().any(|one| one == node))
    }

    /// The same, to be kept.
    pub(crate) fn to_vec(self) -> Option<Vec<String>> {
        self.0.map(<[String]>::to_vec)
    }

    /// Whether it matters to the claim which nodes have none: its holder has none, or no node that serves its Service.
    pub(crate) fn are_missed_by(self, claim: &AddressClaim) -> bool {
        let holder = claim.status.as_ref().and_then(|status| status.holder.as_deref());
        let serving = claim.spec.serving_nodes.as_deref().unwrap_or_default();
        holder.is_some_and(|holder| !self.run_on(holder))
            || !serving.is_empty() && !serving.iter().any(|node| self.run_on(node))
    }
}

/// Whether the claim's lease has ended, by its own word.
pub(crate) fn has_ended(claim: &AddressClaim, now: Timestamp) -> bool {
    end(claim).is_some_and(|end| end <= now)
}

fn end(claim: &AddressClaim) -> Option<Timestamp> {
    Some(claim.status.as_ref()?.lease.as_ref()?.expires_at.as_ref()?.0)
}

/// Whether what a claim says still counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Validity {
    /// When this was found.
    pub(crate) now: Timestamp,
    /// The lease has ended, and the announcers have had their time to say so.
    pub(crate) lapsed: bool,
    /// The holder has had no announcer for some time.
    pub(crate) holder_lost: bool,
    /// After which time it may be otherwise.
    pub(crate) due: Option<Duration>,
}

/// Since when what a claim says is in doubt.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    ended: Option<Timestamp>,
    lost: Option<(String, Timestamp)>,
}

impl Doubts {
    /// Looks at the claim, now. A doubt begins when it is first seen.
    pub(crate) fn look(
        &mut self,
        now: Timestamp,
        claim: &AddressClaim,
        announcers: Announcers<'_>,
    ) -> Validity {
        self.ended = has_ended(claim, now).then(|| self.ended.unwrap_or(now));
        let holder = claim.status.as_ref().and_then(|status| status.holder.as_ref());
        self.lost = holder.filter(|holder| !announcers.run_on(holder)).map(|holder| {
            let before = self.lost.take().filter(|(before, _)| before == holder);
            before.unwrap_or_else(|| (holder.clone(), now))
        });
        let withdrawal = self.ended.map(|since| since + SLACK);
        let loss = self.lost.as_ref().map(|(_, since)| *since + PATIENCE);
        let to_come = [end(claim), withdrawal, loss].into_iter().flatten().filter(|then| *then > now);
        Validity {
            now,
            lapsed: withdrawal.is_some_and(|then| then <= now),
            holder_lost: loss.is_some_and(|then| then <= now),
            due: to_come.min().map(|then| then.duration_since(now).unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::*, *};

    #[test]
    fn a_lease_that_ended_counts_for_another_half_minute() {
        let (mut doubts, claim) = (Doubts::default(), bound("web", "203.0.113.7"));
        let mut look = |second| {
            let validity = doubts.look(at(second), &claim, ALL);
            (validity.lapsed, validity.due.map(|due| due.as_secs()))
        };
        assert_eq!(look(3600), (false, Some(4)), "it ends at 3604");
        assert_eq!(look(3604), (false, Some(30)));
        assert_eq!(look(3633), (false, Some(1)));
        assert_eq!(look(3634), (true, None));
    }

    #[test]
    fn the_half_minute_begins_when_this_process_sees_the_end() {
        let (mut doubts, claim) = (Doubts::default(), bound("web", "203.0.113.7"));
        assert!(!doubts.look(at(9000), &claim, ALL).lapsed, "the API server may have been away");
        let mut renewed = claim.clone();
        renewed.status.as_mut().unwrap().lease.as_mut().unwrap().expires_at = None;
        assert!(!doubts.look(at(9031), &renewed, ALL).lapsed);
        assert!(!doubts.look(at(9100), &claim, ALL).lapsed);
        assert!(doubts.look(at(9130), &claim, ALL).lapsed);
    }

    #[test]
    fn a_holder_without_an_announcer_is_lost_after_a_minute() {
        let (mut doubts, claim) = (Doubts::default(), bound("web", "203.0.113.7"));
        let others = ["w2".to_owned()];
        let gone = Announcers(Some(&others));
        let first = doubts.look(at(10), &claim, gone);
        assert_eq!((first.holder_lost, first.due), (false, Some(PATIENCE)));
        assert!(doubts.look(at(70), &claim, gone).holder_lost);
        assert!(!doubts.look(at(71), &claim, ALL).holder_lost);
        assert!(!doubts.look(at(72), &claim, gone).holder_lost, "it begins anew");
    }

    #[test]
    fn announcers_run_on_the_members_unless_none_is_ready() {
        let runs = |nodes: Option<&str>, members: &[&str]| {
            let plane = plane("a").with_announcers(nodes, members).build();
            Announcers::of(&plane).run_on("w1")
        };
        assert!(runs(Some("1/3"), &["w1"]) && !runs(Some("1/3"), &["w2"]));
        assert!(!runs(Some("0/3"), &["w1"]) && !runs(Some("0/0"), &[]));
        assert!(runs(None, &[]), "nothing is known");
    }

    #[test]
    fn only_claims_that_miss_an_announcer_are_looked_at() {
        let one = ["w1".to_owned()];
        let (held, mut served) = (bound("web", "203.0.113.7"), claim("web"));
        assert!(!Announcers(Some(&one)).are_missed_by(&held) && Announcers(Some(&[])).are_missed_by(&held));
        assert!(!Announcers(Some(&[])).are_missed_by(&served));
        served.spec.serving_nodes = Some(vec!["w3".into()]);
        assert!(Announcers(Some(&one)).are_missed_by(&served) && !ALL.are_missed_by(&served));
    }

    const ALL: Announcers<'static> = Announcers(None);
}
