//! Octets by chance, the same each time: a few of what fuzzing tries.
#![cfg(test)]

use foghorn_fuzz::TARGETS;
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

const TRIES: u64 = 300;
const LONGEST: usize = 1_500;

#[test]
fn no_octets_by_chance_break_a_promise() {
    for (target, body) in TARGETS {
        for seed in 0..TRIES {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut octets = vec![0; rng.random_range(0..LONGEST)];
            rng.fill_bytes(&mut octets);
            // Small numbers reach further into a script.
            if seed % 2 == 0 {
                octets.iter_mut().for_each(|octet| *octet >>= rng.random_range(0..8));
            }
            let kept = std::panic::catch_unwind(|| body(&octets));
            assert!(kept.is_ok(), "{target}: octets of seed {seed} break a promise");
        }
    }
}
