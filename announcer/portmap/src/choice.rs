//! Which of the gateway's ports is asked for in place of one that is taken.

use std::ops::RangeInclusive;

use rand::Rng;

/// So many are tried.
const TRIES: usize = 16;
/// So often a number is drawn that is none of those already tried.
const DRAWS: usize = 64;

/// Whether a port may be asked for.
pub(crate) fn allowed(ranges: &[RangeInclusive<u16>], port: u16) -> bool {
    ranges.iter().any(|range| range.contains(&port))
}

/// One of the ranges' ports by chance, none of those that were tried and that others have. Nothing once enough were tried.
pub(crate) fn another(
    ranges: &[RangeInclusive<u16>],
    tried: &[u16],
    is_reserved: impl Fn(u16) -> bool,
    rng: &mut impl Rng,
) -> Option<u16> {
    let count =
        |range: &RangeInclusive<u16>| u32::from(*range.end()).saturating_sub((*range.start()).into()) + 1;
    let all: u32 = ranges.iter().filter(|range| !range.is_empty()).map(count).sum();
    if tried.len() >= TRIES || all == 0 {
        return None;
    }
    (0..DRAWS).find_map(|_| {
        let mut drawn = rng.random_range(0..all);
        let range = ranges.iter().filter(|range| !range.is_empty()).find(|range| {
            let here = drawn < count(range);
            if !here {
                drawn -= count(range);
            }
            here
        })?;
        let port = range.start().checked_add(u16::try_from(drawn).ok()?)?;
        (port != 0 && !tried.contains(&port) && !is_reserved(port)).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn of_one_port_that_is_taken_there_is_no_other() {
        assert_eq!(drawn(&[80..=80], &[80], 0), None);
        assert_eq!(drawn(&[80..=80], &[], 0), Some(80));
    }

    #[test]
    fn enough_are_tried_and_no_more() {
        let tried: Vec<u16> = (1..=16).collect();
        assert_eq!(drawn(&[1..=u16::MAX], &tried, 0), None);
        assert_eq!(drawn(&[], &[], 0), None);
    }

    proptest! {
        #[test]
        fn what_is_drawn_may_be_asked_for_and_was_not_tried(seed: u64, first in 1u16.., length in 0u16..100, tried: [u16; 3]) {
            let ranges = [first..=first.saturating_add(length), 7..=7];
            if let Some(port) = drawn(&ranges, &tried, seed) {
                prop_assert!(allowed(&ranges, port) && !tried.contains(&port));
            }
        }
    }

    fn drawn(ranges: &[RangeInclusive<u16>], tried: &[u16], seed: u64) -> Option<u16> {
        another(ranges, tried, |_| false, &mut StdRng::seed_from_u64(seed))
    }
}
