//! An address that is answered for, and in which forms it is announced.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;

use crate::{ArpFrame, Kind, Mac, pace::Task};

/// Between a gratuitous announcement and the frame that goes with it.
const PAIR_GAP: Duration = Duration::from_millis(100);
/// Between the announcements after a take-over: 0, 0.1, 0.5, 1, 2 and 3 s, later where many addresses are taken over.
const GAPS: [Duration; 5] = [
    PAIR_GAP,
    Duration::from_millis(400),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(1_000),
];

/// An address that is answered for.
#[derive(Debug)]
pub(crate) struct Announced {
    /// The router of its network.
    pub(crate) router: Option<Ipv4Addr>,
    /// The announcement that is due next.
    pub(crate) next: Option<(Task, Instant)>,
    /// When it was last defended.
    pub(crate) defended: Option<Instant>,
    /// When another host's claim was last reported.
    pub(crate) reported: Option<Instant>,
    /// Announcements so far, defences not among them.
    sent: usize,
}

impl Announced {
    pub(crate) const fn new(router: Option<Ipv4Addr>) -> Self {
        Self { router, next: None, defended: None, reported: None, sent: 0 }
    }

    /// The next announcement. The forms take turns: no receiver needs all of them, and all at once are more frames than some
    /// switches allow.
    ///
    /// The gratuitous request comes first. A host that has an entry for the address updates it whatever the operation is
    /// (RFC 826), so the form matters only to hosts with a check of their own. Those know the request best: it is the
    /// announcement of RFC 5227 (section 3 has the reasons), which most hosts send when they come up.
    ///
    /// The request to the router comes second: a router that ignores gratuitous ARP cuts off all that is behind it. It is a
    /// broadcast, as for an address that is not known yet: a unicast would need the router's MAC address, which may change
    /// in the same failure. Hosts that have an entry for the sender update it by this frame too.
    ///
    /// The gratuitous reply is for hosts that learn from replies only (RFC 5944, 4.6).
    pub(crate) fn next_frame(&mut self, mac: Mac, address: Ipv4Addr) -> (Kind, ArpFrame) {
        let turn = self.sent % 4;
        self.sent = self.sent.saturating_add(1);
        match (turn, self.router) {
            (1 | 3, Some(router)) => (Kind::Request, ArpFrame::request(mac, address, router)),
            (1 | 3, None) | (2, Some(_)) => (Kind::Gratuitous, ArpFrame::gratuitous_reply(mac, address)),
            _ => (Kind::Gratuitous, ArpFrame::gratuitous_request(mac, address)),
        }
    }

    /// What comes after the last announcement, and how much later. A refresh is a pair of frames.
    pub(crate) fn gap(&self, refresh: Option<Duration>) -> Option<(Task, Duration)> {
        if let Some(gap) = self.sent.checked_sub(1).and_then(|index| GAPS.get(index)) {
            return Some((Task::Repeat, *gap));
        }
        let gap = if self.sent % 2 == 1 { Some(PAIR_GAP) } else { refresh };
        gap.map(|gap| (Task::Refresh, gap))
    }

    /// Whether it is only refreshed.
    pub(crate) const fn is_known(&self) -> bool {
        self.sent > GAPS.len()
    }

    /// The next announcement is the first one.
    pub(crate) const fn begin_anew(&mut self) {
        self.sent = 0;
    }
}
