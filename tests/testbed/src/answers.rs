//! Who said when on the wire that an address is his, and for how long two said it at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// An Ethernet hardware address.
pub type Mac = [u8; 6];

/// So many asks in a row may stay without an answer of one who has the address all the same.
const LULL: usize = 5;

/// The answers for one address. Asks are numbered from 0, one each [`interval`](Self::interval); times count from the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answers {
    /// Between two asks.
    pub interval: Duration,
    /// How often it was asked.
    pub asks: usize,
    /// In the order in which they came.
    pub heard: Vec<Heard>,
}

/// A frame that said that the address is its sender's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The ask that it answers; for an announcement or a stale answer the last ask before it came.
    pub ask: usize,
    /// When it came.
    pub at: Duration,
    /// Who said it.
    pub mac: Mac,
}

impl Answers {
    /// Of no address yet.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, asks: 0, heard: Vec::new() }
    }

    /// How long two or more had the address at once, in all: one has it from his first answer to his last one before a lull.
    #[must_use]
    pub fn overlap(&self) -> Duration {
        self.overlaps().into_iter().sum()
    }

    /// The longest time in one piece for which two or more had the address.
    #[must_use]
    pub fn longest_overlap(&self) -> Duration {
        self.overlaps().into_iter().max().unwrap_or_default()
    }

    /// The longest time between two asks that were answered by somebody (or from the start, or to the end).
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let mut answered: Vec<_> = self.heard.iter().map(|heard| heard.ask).collect();
        answered.sort_unstable();
        let ends = answered.iter().copied().chain([self.asks]);
        let begins = [0].into_iter().chain(answered.iter().copied());
        self.time_of(begins.zip(ends).map(|(begin, end)| end.saturating_sub(begin)).max().unwrap_or_default())
    }

    /// Who said within the last time that the address is his.
    #[must_use]
    pub fn last(&self, within: Duration) -> BTreeSet<Mac> {
        let since = self.time_of(self.asks).saturating_sub(within);
        self.heard.iter().filter(|heard| self.time_of(heard.ask) >= since).map(|heard| heard.mac).collect()
    }

    /// For how long that one alone has been saying it, without a lull.
    #[must_use]
    pub fn alone_for(&self, mac: Mac) -> Duration {
        let others = self.heard.iter().filter(|heard| heard.mac != mac).map(|heard| heard.ask + 1).max();
        let range = self.ranges().get(&mac).and_then(|ranges| ranges.last().copied());
        let range = range.filter(|(_, last)| last + LULL >= self.asks);
        let asks = range.map(|(first, _)| self.asks.saturating_sub(first.max(others.unwrap_or_default())));
        self.time_of(asks.unwrap_or_default())
    }

    /// When somebody else than that one said it for the first time after `since`.
    #[must_use]
    pub fn first_of_another(&self, mac: Mac, since: Duration) -> Option<Duration> {
        self.heard.iter().find(|heard| heard.mac != mac && heard.at > since).map(|heard| heard.at)
    }

    /// The pieces of time in which two or more had the address.
    fn overlaps(&self) -> Vec<Duration> {
        let mut holders =
            vec![0_u8; self.asks.max(self.heard.iter().map(|it| it.ask + 1).max().unwrap_or(0))];
        for (first, last) in self.ranges().into_values().flatten() {
            let held = holders.get_mut(first..=last).into_iter().flatten();
            held.for_each(|holders| *holders = holders.saturating_add(1));
        }
        let both = holders.split(|holders| *holders < 2).map(<[u8]>::len).filter(|asks| *asks > 0);
        both.map(|asks| self.time_of(asks)).collect()
    }

    /// First and last ask of each time that one had the address.
    fn ranges(&self) -> BTreeMap<Mac, Vec<(usize, usize)>> {
        let mut asks: Vec<_> = self.heard.iter().map(|heard| (heard.ask, heard.mac)).collect();
        asks.sort_unstable();
        let mut ranges: BTreeMap<Mac, Vec<(usize, usize)>> = BTreeMap::new();
        for (ask, mac) in asks {
            let ranges = ranges.entry(mac).or_default();
            match ranges.last_mut() {
                Some((_, last)) if ask <= *last + LULL => *last = ask,
                _ => ranges.push((ask, ask)),
            }
        }
        ranges
    }

    fn time_of(&self, asks: usize) -> Duration {
        self.interval * u32::try_from(asks).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_is_no_overlap() {
        let answers = answers(30, &[(A, 0..=9), (B, 14..=29)]);
        assert_eq!(answers.overlap(), Duration::ZERO);
        assert_eq!(answers.longest_silence(), INTERVAL * 5);
        assert_eq!(answers.first_of_another(A, Duration::ZERO), Some(INTERVAL * 14));
        assert_eq!(answers.last(INTERVAL * 5), BTreeSet::from([B]));
    }

    #[test]
    fn two_who_answer_the_same_asks_overlap() {
        let answers = answers(30, &[(A, 0..=12), (B, 10..=29)]);
        assert_eq!((answers.overlap(), answers.longest_overlap()), (INTERVAL * 3, INTERVAL * 3));
    }

    #[test]
    fn two_who_answer_by_turns_overlap() {
        let mut answers = answers(20, &[]);
        answers.heard = (0..20).map(|n| heard(n, if n % 2 == 0 { A } else { B })).collect();
        assert_eq!(answers.overlap(), INTERVAL * 18);
    }

    #[test]
    fn one_word_of_somebody_who_lost_the_address_counts_for_one_ask() {
        let answers = answers(60, &[(A, 0..=9), (B, 14..=59), (A, 40..=40)]);
        assert_eq!(answers.overlap(), INTERVAL);
        assert_eq!(answers.alone_for(B), INTERVAL * 19);
        assert_eq!(answers.alone_for(A), Duration::ZERO);
    }

    #[test]
    fn who_fell_silent_is_not_alone() {
        assert_eq!(answers(60, &[(A, 0..=50)]).alone_for(A), Duration::ZERO);
        assert_eq!(answers(60, &[]).longest_silence(), INTERVAL * 60);
    }

    fn answers(asks: usize, ranges: &[(Mac, std::ops::RangeInclusive<usize>)]) -> Answers {
        let heard = ranges.iter().flat_map(|(mac, asks)| asks.clone().map(|ask| heard(ask, *mac))).collect();
        Answers { asks, heard, ..Answers::new(INTERVAL) }
    }

    fn heard(ask: usize, mac: Mac) -> Heard {
        Heard { ask, at: INTERVAL * u32::try_from(ask).unwrap(), mac }
    }

    const INTERVAL: Duration = Duration::from_millis(10);
    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];
}
