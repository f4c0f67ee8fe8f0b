//! What was seen of an acquisition, with kubectl and on the wire, and what it says of where the time went.

use crate::{
    claims::Seen,
    exchanges::{Exchange, Exchanges, rate},
    figures::{Figure, median},
};

/// Times are seconds since 1970.
pub(crate) struct Timeline {
    /// From here on it counts.
    pub(crate) began: f64,
    /// When kubectl had made all Services; `None` if that was before it counted.
    pub(crate) made: Option<f64>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) exchanges: Exchanges,
}

impl Timeline {
    /// Seconds until the last claim had its address.
    pub(crate) fn bound(&self) -> Option<f64> {
        self.last(|seen| seen.bound)
    }

    pub(crate) fn figures(&self) -> Vec<Figure> {
        let wire = &self.exchanges;
        let (discovers, acks) = (wire.times(|it| it.discover), wire.times(|it| it.ack));
        let on_wire = discovers.first().zip(acks.last()).map(|(first, last)| last - first);
        let milliseconds = |spans: Vec<f64>| median(spans).map(|span| span * 1000.0);
        let offers = wire.spans(|it| it.discover, |it| it.offer);
        let grants = wire.spans(|it| it.request, |it| it.ack);
        let server = milliseconds([offers, grants].concat());
        let client = milliseconds(wire.spans(|it| it.offer, |it| it.request));
        // kubectl may tell of a claim when its DISCOVER is out already.
        let queue =
            self.median_of(|seen, exchange| Some((exchange.discover? - seen.made.max(self.began)).max(0.0)));
        let claimed = self.made.and_then(|_| self.last(|seen| Some(seen.made)));
        let report = self.median_of(|seen, exchange| Some(seen.bound? - exchange.ack?));
        vec![
            Figure::new(
                "made_s",
                "until kubectl had made all Services",
                self.made.map(|made| made - self.began),
            ),
            Figure::new("claimed_s", "until the operator had made the last claim", claimed),
            Figure::new("bound_s", "until the last claim's status had its address", self.bound()),
            Figure::new("wire_s", "from the first DISCOVER to the last ACK", on_wire),
            Figure::new(
                "discovers_per_s",
                "clients that begin, from the first to the last",
                rate(&discovers),
            ),
            Figure::new("server_ms", "median: until the DHCP server answers a message", server),
            Figure::new("client_ms", "median: from OFFER to REQUEST", client),
            Figure::new("queue_s", "median: from the claim to its DISCOVER", queue),
            Figure::new("report_s", "median: from ACK, by 0.4 s of ARP probes, to the status", report),
        ]
    }

    fn last(&self, of: impl Fn(&Seen) -> Option<f64>) -> Option<f64> {
        let last = self.seen.iter().filter_map(of).max_by(f64::total_cmp)?;
        Some(last - self.began)
    }

    /// Of the seconds between something seen of a claim and something of its exchange.
    fn median_of(&self, span: impl Fn(&Seen, &Exchange) -> Option<f64>) -> Option<f64> {
        let of = |seen: &Seen| span(seen, self.exchanges.get(seen.mac.as_deref()?)?);
        median(self.seen.iter().filter_map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_and_its_exchange_are_brought_together_by_the_hardware_address() {
        let line = |time: &str, kind: &str| {
            format!("{time} Client-Ethernet-Address 02:ab:00:00:00:01 DHCP-Message (53), length 1: {kind} ")
        };
        let exchanges = Exchanges::of(&[line("101.5", "Discover"), line("102.0", "ACK")]);
        let seen = |mac: &str, bound| Seen { made: 101.0, bound: Some(bound), mac: Some(mac.to_owned()) };
        let seen = vec![seen("02:ab:00:00:00:01", 102.75), seen("02:ab:00:00:00:02", 104.0)];
        let timeline = Timeline { began: 100.0, made: Some(100.5), seen, exchanges };
        assert_eq!(timeline.bound(), Some(4.0));
        assert_eq!(timeline.median_of(|seen, exchange| Some(exchange.discover? - seen.made)), Some(0.5));
        assert_eq!(timeline.median_of(|seen, exchange| Some(seen.bound? - exchange.ack?)), Some(0.75));
    }
}
