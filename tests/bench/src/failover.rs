//! What is lost, again and again, and how long a client outside is without an answer each time.

mod case;
mod keepalived;
mod loss;
mod summary;
mod trial;
mod watch;

use std::time::Duration;

use case::Case;
use foghorn_lab::{
    Result,
    steps::{say, step},
};
use foghorn_testbed::Crowd;
use keepalived::Keepalived;
use summary::Summary;
use trial::Trial;

use crate::arena::{NODES, in_arena};

/// A prober that was later than this has measured the machine: the run is repeated.
const LATE: Duration = Duration::from_millis(50);
/// So often at most; on a machine that is always late, the last one counts.
const REPEATS: usize = 3;
/// The plane's announcements in a second: its default, and what it has in place of it for more than so many claims.
const ANNOUNCEMENTS: (u32, u32) = (200, 10_000);
const MANY: usize = 100;

/// What is lost, and how often.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these cases; all of them if none is given
    #[arg(long = "case", value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Runs of each case; a case may have a number of its own if not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: Option<u16>,
    /// Claims on the plane, in place of those that each case has by itself
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4000))]
    claims: Vec<u16>,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    in_arena(NODES, |plane| {
        let mut all: Vec<Summary> = Vec::new();
        let ended = plan(arguments).into_iter().try_for_each(|(case, claims)| {
            let runs = arguments.runs.unwrap_or_else(|| case.runs()).into();
            let heading = format!("{}, {claims} claims, {runs} runs: {}", case.name(), case.what());
            let (trials, repeated) = step(&heading, || trials(plane, case, claims, runs))?;
            let summary = Summary { case, claims, trials, repeated, yardstick: summary::yardstick(&all) };
            say(&if arguments.json { summary.json() } else { summary.to_string() });
            all.push(summary);
            Ok(())
        });
        if !arguments.json {
            say(&format!("\n{}", summary::table(&all)));
        }
        ended
    })
}

/// Each case with its number of claims, in an order in which few Services are made and none removed.
fn plan(arguments: &Arguments) -> Vec<(Case, usize)> {
    let wanted = |case: &Case| arguments.cases.is_empty() || arguments.cases.contains(case);
    let with_claims = |case: Case| {
        let own = if arguments.claims.is_empty() || case == Case::Keepalived {
            case.claims()
        } else {
            &arguments.claims
        };
        own.iter().map(move |claims| (case, usize::from(*claims))).collect::<Vec<_>>()
    };
    let mut plan: Vec<_> = Case::ALL.into_iter().filter(wanted).flat_map(with_claims).collect();
    plan.sort_by_key(|(_, claims)| *claims);
    plan
}

/// The runs of a case, and how many were repeated.
fn trials(plane: &Crowd, case: Case, claims: usize, runs: usize) -> Result<(Vec<Trial>, usize)> {
    let yardstick;
    let one: &dyn Fn(usize) -> Result<Trial> = if let Some(course) = case.course() {
        let (usual, many) = ANNOUNCEMENTS;
        plane.announce_at(if claims > MANY { many } else { usual })?;
        plane.scale(claims)?;
        &move |number| loss::trial(plane, course, claims, number)
    } else {
        yardstick = Keepalived::start(&plane.lab)?;
        &|_| yardstick.trial(plane)
    };
    let (mut trials, mut repeated) = (Vec::new(), 0);
    for number in 0..runs {
        for again in 0..=REPEATS {
            let trial = one(number)?;
            say(&format!("    {:>3}: {trial}", number + 1));
            if trial.delay <= LATE || again == REPEATS || !case.is_repeated() {
                trials.push(trial);
                break;
            }
            say(&format!("         repeated: the prober was late by {:.0?}", trial.delay));
            repeated += 1;
        }
    }
    Ok((trials, repeated))
}

#[cfg(test)]
mod tests {
    use foghorn_testbed::Fault;

    use super::*;

    #[test]
    fn all_cases_are_planned_with_few_claims_first_and_each_number_of_them_its_own() {
        let planned = plan(&arguments(vec![], vec![]));
        assert_eq!(planned.first(), Some(&(Case::Keepalived, 0)));
        assert_eq!(planned.last(), Some(&(Case::Fault(Fault::Power), 1000)));
        assert!(Case::ALL.iter().all(|case| planned.iter().any(|(planned, _)| planned == case)));
        assert_eq!(
            plan(&arguments(vec![Case::Fault(Fault::Kill)], vec![100, 3])),
            [(Case::Fault(Fault::Kill), 3), (Case::Fault(Fault::Kill), 100)]
        );
    }

    fn arguments(cases: Vec<Case>, claims: Vec<u16>) -> Arguments {
        Arguments { cases, claims, runs: None, json: false }
    }
}
