//! The cases, and what is expected of each.

use std::time::Duration;

use clap::{ValueEnum, builder::PossibleValue};
use foghorn_testbed::Fault;

use super::{
    loss::Course,
    trial::{Trial, seconds},
};
use crate::figures::median;

/// What is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    /// A node, while keepalived holds the address.
    Keepalived,
    /// What a fault of the testbed takes.
    Fault(Fault),
    /// A node, while the API server is away.
    ApiDownLoss,
}

/// What is expected.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Goal {
    /// Median and worst gap at most, in seconds.
    Gap(f64, f64),
    /// The same for a client that knows no hardware address yet too, and never do two nodes answer: where traffic goes on through
    /// the node that was hit, the gap alone says little.
    GapAlone(f64, f64),
    /// Nobody notices, and who knows no hardware address yet gets to know it.
    NoGap,
    /// No two nodes answer, and somebody does.
    Alone,
    /// Nothing: others are compared with it.
    Yardstick,
}

/// What the prober may be late by counts twice: it ends one attempt late and begins the next one late.
const NO_GAP: f64 = 0.1;
/// An address that nobody answers for so long, in seconds, is lost.
const LOST: f64 = 0.8;

/// How long the API server is slow, flaps, or is out of reach for most.
const API_FAULT: Duration = Duration::from_secs(20);

impl Case {
    pub(crate) const ALL: [Self; 13] = [
        Self::Keepalived,
        Self::Fault(Fault::Power),
        Self::Fault(Fault::Kill),
        Self::Fault(Fault::Stop),
        Self::Fault(Fault::Cable),
        Self::Fault(Fault::Drain),
        Self::Fault(Fault::Rollout),
        Self::Fault(Fault::Update),
        Self::Fault(Fault::ApiDown),
        Self::ApiDownLoss,
        Self::Fault(Fault::ApiMinority),
        Self::Fault(Fault::ApiSlow),
        Self::Fault(Fault::ApiFlap),
    ];

    /// As the command line has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::Fault(fault) => fault.name(),
            Self::ApiDownLoss => "api-down-loss",
        }
    }

    /// In words.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Keepalived => "The node loses power; keepalived holds the address",
            Self::Fault(Fault::ApiDown) => "The API server is away for five minutes",
            Self::Fault(fault) => fault.what(),
            Self::ApiDownLoss => "A node is lost while the API server is away",
        }
    }

    /// Of how many claims the plane has some; each number is a case of its own.
    pub(crate) const fn claims(self) -> &'static [u16] {
        match self {
            Self::Keepalived => &[0],
            Self::Fault(Fault::Power) => &[1, 100, 1000],
            Self::Fault(_) | Self::ApiDownLoss => &[12],
        }
    }

    pub(crate) const fn runs(self) -> u16 {
        match self {
            Self::Fault(Fault::ApiDown) => 1,
            Self::Fault(fault) if fault.is_of_api() => 5,
            Self::Keepalived | Self::Fault(_) | Self::ApiDownLoss => 20,
        }
    }

    /// Whether a run with a late prober is repeated: not one that takes minutes.
    pub(crate) const fn is_repeated(self) -> bool {
        !matches!(self, Self::Fault(Fault::ApiDown))
    }

    /// What happens in a run; `None` if keepalived is what it happens to.
    pub(crate) const fn course(self) -> Option<Course> {
        Some(match self {
            Self::Keepalived => return None,
            Self::Fault(Fault::ApiDown) => Course::Outage(Fault::ApiDown, Duration::from_secs(300)),
            Self::Fault(fault) if fault.is_of_api() => Course::Outage(fault, API_FAULT),
            Self::Fault(fault) => Course::Loss(fault),
            Self::ApiDownLoss => Course::LossInOutage(Duration::from_secs(30)),
        })
    }

    pub(crate) const fn goal(self) -> Goal {
        match self {
            Self::Keepalived => Goal::Yardstick,
            Self::Fault(fault) => Goal::of(fault),
            Self::ApiDownLoss => Goal::Gap(1.0, 2.0),
        }
    }
}

impl ValueEnum for Case {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.what()))
    }
}

impl Goal {
    const fn of(fault: Fault) -> Self {
        match fault {
            Fault::Power => Self::Gap(0.4, 0.8),
            Fault::Kill | Fault::Stop => Self::GapAlone(0.4, 0.8),
            Fault::Cable => Self::Gap(0.3, 0.6),
            Fault::Drain | Fault::Rollout | Fault::Update => Self::Gap(0.05, 0.2),
            Fault::ApiDown => Self::NoGap,
            Fault::ApiCut | Fault::ApiMinority | Fault::ApiSlow | Fault::ApiFlap => Self::Alone,
        }
    }

    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Gap(median, worst) => format!("gap {median} s, at worst {worst} s"),
            Self::GapAlone(median, worst) => {
                format!("gap and silence {median} s, at worst {worst} s, never two nodes")
            }
            Self::NoGap => format!("no gap, silence at worst {LOST} s"),
            Self::Alone => format!("never two nodes, gap and silence at worst {LOST} s"),
            Self::Yardstick => "-".to_owned(),
        }
    }

    /// Whether the runs of a case come up to it; there is one at least.
    pub(crate) fn is_met(self, trials: &[Trial]) -> bool {
        let gaps = seconds(trials, |trial| trial.gap);
        let silences = seconds(trials, |trial| trial.silence);
        let within = |times: &[f64], at_median: f64, worst: f64| {
            median(times.to_vec()).is_some_and(|time| time <= at_median)
                && times.iter().all(|time| *time <= worst)
        };
        let alone = || trials.iter().all(|trial| trial.overlap == Duration::ZERO);
        match self {
            Self::Gap(median, worst) => within(&gaps, median, worst),
            Self::GapAlone(median, worst) => {
                within(&gaps, median, worst) && within(&silences, median, worst) && alone()
            }
            Self::NoGap => within(&gaps, NO_GAP, NO_GAP) && within(&silences, LOST, LOST),
            Self::Alone => within(&gaps, LOST, LOST) && within(&silences, LOST, LOST) && alone(),
            Self::Yardstick => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_word_of_its_own_on_the_command_line() {
        let words: Vec<_> = Case::ALL.into_iter().map(Case::name).collect();
        let expected = [
            "keepalived",
            "power",
            "kill",
            "stop",
            "cable",
            "drain",
            "rollout",
            "update",
            "api-down",
            "api-down-loss",
            "api-minority",
            "api-slow",
            "api-flap",
        ];
        assert_eq!(words, expected);
        for (word, case) in expected.into_iter().zip(Case::ALL) {
            assert_eq!(Case::from_str(word, false), Ok(case));
        }
    }

    #[test]
    fn a_goal_has_a_median_and_a_worst_gap() {
        let goal = Goal::Gap(0.4, 0.8);
        assert!(goal.is_met(&[trial(300, 0), trial(390, 0), trial(800, 5)]));
        assert!(!goal.is_met(&[trial(300, 0), trial(410, 0), trial(500, 0)]));
        assert!(!goal.is_met(&[trial(300, 0), trial(310, 0), trial(801, 0)]));
    }

    #[test]
    fn where_one_node_only_may_answer_another_one_misses_the_goal_whatever_the_gap() {
        assert!(Goal::Alone.is_met(&[trial(500, 0)]) && !Goal::Alone.is_met(&[trial(0, 10)]));
        let silent = Trial { silence: Duration::from_secs(4), ..trial(0, 0) };
        assert!(!Goal::GapAlone(0.4, 0.8).is_met(&[trial(0, 10)]));
        for goal in [Goal::GapAlone(0.4, 0.8), Goal::Alone, Goal::NoGap] {
            assert!(goal.is_met(&[trial(0, 0)]) && !goal.is_met(std::slice::from_ref(&silent)), "{goal:?}");
        }
    }

    fn trial(gap: u64, overlap: u64) -> Trial {
        Trial { gap: Duration::from_millis(gap), overlap: Duration::from_millis(overlap), ..Trial::default() }
    }
}
