//! Many schedules, each of which follows from a seed.

use std::{
    any::Any,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::Journal;

/// Plays the schedules of the seeds `0..count`. `play` returns the result of a schedule, or which rule it broke; a panic
/// counts as a broken rule.
///
/// The environment variable `{name}_SEED` selects one schedule and prints what happens in it; `{name}_SCHEDULES` sets
/// another count.
///
/// # Panics
/// If a schedule breaks a rule. The schedule is then played again with a journal; the message has the seed and the journal's
/// last lines.
pub fn play<R>(name: &str, count: u64, mut play: impl FnMut(u64, &Journal) -> Result<R, String>) -> Vec<R> {
    if let Some(seed) = number(&format!("{name}_SEED")) {
        let result = play(seed, &Journal::printed());
        return vec![result.unwrap_or_else(|broken| fail(name, seed, &broken))];
    }
    let mut played = |seed| {
        attempt(&mut play, seed, &Journal::default()).unwrap_or_else(|broken| {
            let journal = Journal::kept();
            let again = attempt(&mut play, seed, &journal).err();
            let history = journal.lines().join("\n");
            let note =
                if again.as_ref() == Some(&broken) { "" } else { "\nthe second run of this seed differs" };
            fail(name, seed, &format!("{broken}{note}\nwhat led there:\n{history}"))
        })
    };
    (0..number(&format!("{name}_SCHEDULES")).unwrap_or(count)).map(&mut played).collect()
}

#[expect(clippy::panic, reason = "a test fails by it")]
fn fail(name: &str, seed: u64, broken: &str) -> ! {
    panic!("{name}_SEED={seed}: {broken}")
}

fn attempt<R>(
    play: &mut impl FnMut(u64, &Journal) -> Result<R, String>,
    seed: u64,
    journal: &Journal,
) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(|| play(seed, journal))).unwrap_or_else(|panic| Err(text(panic.as_ref())))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without text").to_owned()
}

#[expect(clippy::expect_used, reason = "a test fails by it")]
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("the variable is a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `play` says of schedules of which the third breaks a rule.
    fn broken(rule: impl Fn(u64) -> Result<u64, String>) -> String {
        let played = |seed, journal: &Journal| {
            journal.tell(1.5, format_args!("seed {seed} begins"));
            rule(seed)
        };
        let all = AssertUnwindSafe(|| play("FOGHORN_TEST", 5, played));
        text(catch_unwind(all).unwrap_err().as_ref())
    }

    #[test]
    fn all_seeds_are_played_in_order() {
        assert_eq!(play("FOGHORN_TEST", 5, |seed, _| Ok(seed)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_broken_rule_is_reported_with_its_seed_and_what_led_there() {
        let expected = "FOGHORN_TEST_SEED=2: broken\nwhat led there:\n   1.5 seed 2 begins";
        assert_eq!(broken(|seed| if seed == 2 { Err("broken".into()) } else { Ok(seed) }), expected);
        let panics = |seed| {
            assert!(seed != 2, "broken");
            Ok(seed)
        };
        assert_eq!(broken(panics), expected);
    }

    #[test]
    fn a_run_that_differs_the_second_time_is_noticed() {
        let count = std::cell::Cell::new(0);
        let report = broken(|_| {
            count.set(count.get() + 1);
            Err(format!("broken {}", count.get()))
        });
        assert!(report.contains("the second run of this seed differs"), "{report}");
    }
}
