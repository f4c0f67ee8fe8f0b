//! Who was heard, when and by which way, and what it said last.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::{Epoch, MemberId, Message, Path, Report, Time, View};

/// Others that were not heard for so long are forgotten, and so are claims that are gone for so long.
pub(super) const FORGET: Duration = Duration::from_secs(600);

/// What is known of another member, or of one that wants to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer<T> {
    /// The latest of its stamps, by its own clock, and when it came first.
    newest: Option<T>,
    pub(super) heard: T,
    /// The same of what came on the plane's own network.
    newest_on_wire: Option<T>,
    heard_on_wire: Option<T>,
    /// The latest of this member's own stamps that it has named: by then it was there, whatever is sent again of it.
    answered: T,
    /// Since when it has been answering without a pause.
    pub(super) answers_since: T,
    /// The epoch of its view, as it last said.
    pub(super) epoch: Epoch,
    /// Its latest report, and when it sent that by its own clock.
    pub(super) report: Option<(T, Report<T>)>,
}

/// All that were heard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hearing<T> {
    peers: BTreeMap<MemberId, Peer<T>>,
    /// Silence from before this moment counts for nothing: this process itself was not there.
    judge_from: T,
}

impl<T: Time> Hearing<T> {
    pub(super) fn new(now: T) -> Self {
        Self { peers: BTreeMap::new(), judge_from: now }
    }

    /// Notes that a message has come. False if a later one came before it: then it says nothing new.
    ///
    /// Only what is newer than all before, by either way, is a sign of life: a copy that comes late is none (rule 9).
    pub(super) fn note(&mut self, now: T, path: Path, message: &Message<T>) -> bool {
        let peer = self.peers.entry(message.from).or_insert(Peer {
            newest: None,
            heard: T::ZERO,
            newest_on_wire: None,
            heard_on_wire: None,
            answered: T::ZERO,
            answers_since: now,
            epoch: Epoch::default(),
            report: None,
        });
        let at = Some(message.at);
        if path == Path::Wire && peer.newest_on_wire < at {
            peer.newest_on_wire = at;
            peer.heard_on_wire = Some(now);
        }
        if peer.newest < at {
            peer.newest = at;
            peer.heard = now;
        }
        let is_news = peer.newest == at;
        if is_news {
            peer.epoch = message.epoch;
        }
        is_news
    }

    /// Notes that it has named a stamp of this member. One of the future is none of this member's.
    pub(super) fn note_answer(&mut self, now: T, id: MemberId, stamp: T, pause: Duration) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.answered < stamp && stamp <= now) else {
            return;
        };
        if now.since(peer.answered) > pause {
            peer.answers_since = now;
        }
        peer.answered = stamp;
    }

    /// The latest of this member's own stamps that it has named.
    pub(super) fn answered(&self, id: MemberId) -> T {
        self.peers.get(&id).map_or(T::ZERO, |peer| peer.answered)
    }

    /// Whether it has named a stamp of this member that is not older than `limit`: it is there now.
    pub(super) fn answers(&self, now: T, id: MemberId, limit: Duration) -> bool {
        let answered = self.answered(id);
        answered > T::ZERO && now.since(answered) <= limit
    }

    /// The latest stamps of those that were heard within `limit`: at most so many, those of the greatest epochs first.
    pub(super) fn stamps(&self, now: T, limit: Duration, most: usize) -> Vec<(MemberId, T)> {
        let mut heard: Vec<_> =
            self.peers.iter().filter(|(_, peer)| now.since(peer.heard) <= limit).collect();
        heard.sort_by_key(|(id, peer)| Reverse((peer.epoch, peer.heard, **id)));
        heard.into_iter().take(most).filter_map(|(id, peer)| Some((*id, peer.newest?))).collect()
    }

    /// The latest reports of those that are heard and not in this view: at most so many, the latest first.
    pub(super) fn outside(&self, now: T, limit: Duration, view: &View, most: usize) -> Vec<(MemberId, T)> {
        let is_outside =
            |(id, peer): &(&MemberId, &Peer<T>)| !view.has(**id) && now.since(peer.heard) <= limit;
        let mut outside: Vec<_> = self.peers.iter().filter(is_outside).collect();
        outside.sort_by_key(|(id, peer)| Reverse((peer.heard, **id)));
        let stamp = |(id, peer): (&MemberId, &Peer<T>)| Some((*id, peer.report.as_ref()?.0));
        outside.into_iter().filter_map(stamp).take(most).collect()
    }

    pub(super) fn peer(&self, id: MemberId) -> Option<&Peer<T>> {
        self.peers.get(&id)
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (MemberId, &Peer<T>)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    pub(super) fn set_report(&mut self, id: MemberId, at: T, report: Report<T>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.report = Some((at, report));
        }
    }

    pub(super) fn report(&self, id: MemberId) -> Option<&Report<T>> {
        self.peers.get(&id)?.report.as_ref().map(|(_, report)| report)
    }

    /// Its latest report, if it still goes on reporting.
    pub(super) fn fresh_report(&self, id: MemberId, limit: Duration) -> Option<&Report<T>> {
        let peer = self.peers.get(&id)?;
        let (at, report) = peer.report.as_ref()?;
        (peer.newest?.since(*at) <= limit).then_some(report)
    }

    /// From when on silence counts.
    pub(super) fn judge_from(&self) -> T {
        self.judge_from
    }

    /// When it was last heard by either way, as far as that says something: not before this process was there itself.
    pub(super) fn heard(&self, id: MemberId) -> T {
        self.peers.get(&id).map_or(T::ZERO, |peer| peer.heard).max(self.judge_from)
    }

    /// Whether it was heard within `limit`.
    pub(super) fn is_alive(&self, now: T, id: MemberId, limit: Duration) -> bool {
        self.peers.get(&id).is_some_and(|peer| now.since(peer.heard.max(self.judge_from)) <= limit)
    }

    /// Those that are heard on the plane's own network.
    pub(super) fn on_the_wire(&self, now: T, limit: Duration) -> Vec<MemberId> {
        let heard = |peer: &Peer<T>| {
            peer.heard_on_wire.is_some_and(|wire| now.since(wire.max(self.judge_from)) <= limit)
        };
        self.peers.iter().filter(|(_, peer)| heard(peer)).map(|(id, _)| *id).collect()
    }

    /// Restarts all silence timers: what was not heard while this process stood still says nothing.
    pub(super) fn restart(&mut self, now: T) {
        self.judge_from = now;
    }

    pub(super) fn forget_old(&mut self, now: T) {
        self.peers.retain(|_, peer| now.since(peer.heard) < FORGET);
    }
}
