//! How many frames of one source are looked at closely.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use foghorn_clock::Instant;
use foghorn_membership::Path;

/// Where a frame came from. Anybody can write what he likes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A hardware address on the plane's own network.
    Wire([u8; 6]),
    /// An address of a node.
    Udp(IpAddr),
}

impl Source {
    /// The path that it came by.
    #[must_use]
    pub const fn path(self) -> Path {
        match self {
            Self::Wire(_) => Path::Wire,
            Self::Udp(_) => Path::Udp,
        }
    }
}

/// By which path a frame is sent, and from where: that is signed with it, so that it is good on that path only.
///
/// The addresses of nodes are not part of it: routers between them may translate those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A hardware address on the plane's own network.
    Wire([u8; 6]),
    /// By UDP between node addresses.
    Udp,
}

impl Origin {
    /// What is signed of it: a byte for the path, and the MAC address if there is one.
    pub(crate) fn signed(&self) -> (u8, &[u8]) {
        match self {
            Self::Wire(mac) => (1, mac),
            Self::Udp => (2, &[]),
        }
    }
}

impl From<Source> for Origin {
    fn from(source: Source) -> Self {
        match source {
            Source::Wire(mac) => Self::Wire(mac),
            Source::Udp(_) => Self::Udp,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wire([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            Self::Udp(address) => write!(f, "{address}"),
        }
    }
}

/// Frames in a second from one source, and at once: a coordinator that tells a thousand members their view with the
/// longest names needs half of it.
const RATE: u32 = 4_000;
/// The time in which one more is allowed.
const TOKEN: Duration = Duration::from_micros(1_000_000 / 4_000);
/// In a plane of a thousand members each has two sources.
const MOST_KNOWN: usize = 4_096;
const MOST_STRANGERS: usize = 1_024;
/// A source that was silent for so long may be forgotten.
const FORGET: Duration = Duration::from_secs(10);
const SWEEP: Duration = Duration::from_secs(1);

/// A bucket of tokens for each source. Sources of which a frame was found good are not displaced by others; of the
/// others, those that come when there are too many share one bucket.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    known: Buckets,
    strangers: Buckets,
    rest: Bucket,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            known: Buckets::new(MOST_KNOWN),
            strangers: Buckets::new(MOST_STRANGERS),
            rest: Bucket::default(),
        }
    }
}

impl Limit {
    /// Whether a frame of that source is to be looked at; counts it if so.
    pub(crate) fn allow(&mut self, now: Instant, source: Source) -> bool {
        let known = self.known.of.get_mut(&source);
        if let Some(bucket) = known.or_else(|| self.strangers.of.get_mut(&source)) {
            return bucket.take(now);
        }
        if self.strangers.has_room(now) {
            self.strangers.of.entry(source).or_default().take(now)
        } else {
            self.rest.take(now)
        }
    }

    /// A frame of that source was good.
    pub(crate) fn trust(&mut self, now: Instant, source: Source) {
        if !self.known.of.contains_key(&source) && self.known.has_room(now) {
            let bucket = self.strangers.of.remove(&source).unwrap_or_default();
            self.known.of.insert(source, bucket);
        }
    }
}

#[derive(Clone, Debug)]
struct Buckets {
    of: BTreeMap<Source, Bucket>,
    most: usize,
    swept: Instant,
}

impl Buckets {
    fn new(most: usize) -> Self {
        Self { of: BTreeMap::new(), most, swept: Instant::ZERO }
    }

    /// Whether there is room for a further source. Looks through all of them once a second at most.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.of.len() >= self.most && now - self.swept >= SWEEP {
            self.swept = now;
            self.of.retain(|_, bucket| now - bucket.at < FORGET);
        }
        self.of.len() < self.most
    }
}

/// Fills up in a second.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    at: Instant,
    taken: u32,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let back = u32::try_from((now - self.at).as_micros() / TOKEN.as_micros()).unwrap_or(u32::MAX);
        *self = if back < self.taken {
            Self { at: self.at + TOKEN * back, taken: self.taken - back }
        } else {
            Self { at: now, taken: 0 }
        };
        let allowed = self.taken < RATE;
        self.taken += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_one_source_is_bounded_and_takes_nothing_from_the_next() {
        let mut limit = Limit::default();
        assert_eq!(allowed(&mut limit, NOW, 100_000, |_| mac(1)), RATE);
        assert!(limit.allow(NOW, mac(2)));
        let later = NOW + Duration::from_millis(500);
        assert_eq!(allowed(&mut limit, later, 100_000, |_| mac(1)), RATE / 2);
    }

    #[test]
    fn a_steady_flood_gets_no_more_than_the_rate() {
        let mut limit = Limit::default();
        let mut frames = 0;
        for turn in 0..100_000 {
            frames += u32::from(limit.allow(NOW + Duration::from_micros(30) * turn, mac(1)));
        }
        assert!((4 * RATE - 1..=4 * RATE).contains(&frames), "{frames} frames in three seconds");
    }

    #[test]
    fn a_flood_from_many_sources_is_bounded_in_frames_and_memory_and_leaves_the_known_ones_theirs() {
        let mut limit = Limit::default();
        assert!(limit.allow(NOW, mac(1)));
        limit.trust(NOW, mac(1));
        let most = u32::try_from(MOST_STRANGERS).unwrap() + RATE;
        assert_eq!(allowed(&mut limit, NOW, 100_000, |n| mac(n + 2)), most);
        assert!(limit.allow(NOW, mac(1)));
        assert!(limit.strangers.of.len() <= MOST_STRANGERS);
    }

    #[test]
    fn strangers_that_are_silent_make_room() {
        let mut limit = Limit::default();
        allowed(&mut limit, NOW, 100_000, mac);
        assert!(!limit.allow(NOW, mac(200_000)));
        assert!(limit.allow(NOW + FORGET, mac(200_000)));
        assert_eq!(limit.strangers.of.len(), 1);
    }

    fn allowed(limit: &mut Limit, now: Instant, frames: u32, source: impl Fn(u32) -> Source) -> u32 {
        (0..frames).map(|n| u32::from(limit.allow(now, source(n)))).sum()
    }

    fn mac(n: u32) -> Source {
        let [a, b, c, d] = n.to_be_bytes();
        Source::Wire([2, 0, a, b, c, d])
    }

    const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
}
