//! How many requests are answered: enough for every real client, bounded for a storm.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;

use crate::Mac;

const WINDOW: Duration = Duration::from_secs(1);
/// A host asks once a second, a person with arping a few times.
const PER_ASKER: u32 = 10;
/// All hosts of a large link at once, after a take-over. A storm on one address leaves the others their share.
const PER_ADDRESS: u32 = 1_000;
/// Also bounds the memory of a window.
const PER_LINK: u32 = 10_000;

/// Counts the answers of a window of one second.
#[derive(Debug, Default)]
pub(crate) struct ReplyLimit {
    window: Instant,
    link: u32,
    addresses: BTreeMap<Ipv4Addr, u32>,
    askers: BTreeMap<(Ipv4Addr, Mac), u32>,
}

impl ReplyLimit {
    /// Whether `asker` may be answered about `address` now; counts the answer if so.
    pub(crate) fn allow(&mut self, now: Instant, address: Ipv4Addr, asker: Mac) -> bool {
        if now - self.window >= WINDOW {
            *self = Self { window: now, ..Self::default() };
        }
        if self.link >= PER_LINK {
            return false;
        }
        let of_address = self.addresses.entry(address).or_default();
        if *of_address >= PER_ADDRESS {
            return false;
        }
        let of_asker = self.askers.entry((address, asker)).or_default();
        if *of_asker >= PER_ASKER {
            return false;
        }
        *of_asker += 1;
        *of_address += 1;
        self.link += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asker_gets_ten_answers_a_second_and_takes_nothing_from_the_next() {
        let mut limit = ReplyLimit::default();
        assert_eq!(allowed(&mut limit, NOW, 10_000, |_| (ADDRESS, mac(1))), 10);
        assert!(limit.allow(NOW, ADDRESS, mac(2)));
        assert_eq!(allowed(&mut limit, NOW + WINDOW, 10_000, |_| (ADDRESS, mac(1))), 10);
    }

    #[test]
    fn a_storm_of_many_askers_on_one_address_leaves_the_others_their_answers() {
        let mut limit = ReplyLimit::default();
        assert_eq!(allowed(&mut limit, NOW, 10_000, |n| (ADDRESS, mac(n))), PER_ADDRESS);
        assert!(limit.allow(NOW, Ipv4Addr::new(192, 0, 2, 8), mac(1)));
    }

    #[test]
    fn a_storm_on_all_addresses_is_bounded_in_answers_and_memory() {
        let mut limit = ReplyLimit::default();
        let answers = allowed(&mut limit, NOW, 50_000, |n| (Ipv4Addr::from(n % 5_000), mac(n)));
        assert_eq!(answers, PER_LINK);
        assert!(limit.askers.len() <= PER_LINK as usize);
    }

    fn allowed(
        limit: &mut ReplyLimit,
        now: Instant,
        frames: u32,
        ask: impl Fn(u32) -> (Ipv4Addr, Mac),
    ) -> u32 {
        let mut answers = 0;
        for (address, asker) in (0..frames).map(ask) {
            answers += u32::from(limit.allow(now, address, asker));
        }
        answers
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
}
