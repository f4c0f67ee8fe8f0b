//! What the runs of a case come to: a line to read, a line of JSON, a row of a table.

use std::fmt::{self, Write as _};

use foghorn_testbed::Fault;
use serde_json::{Map, json};

use super::{
    case::Case,
    trial::{Trial, Writes, seconds},
};
use crate::figures::{self, Figure, median};

/// The case that is compared with keepalived.
const POWER: Case = Case::Fault(Fault::Power);
/// How much longer than keepalived's our median gap may be, in seconds.
const BEHIND: f64 = 0.05;

/// All runs of a case with a number of claims.
pub(crate) struct Summary {
    pub(crate) case: Case,
    pub(crate) claims: usize,
    pub(crate) trials: Vec<Trial>,
    /// Runs that were repeated because the prober was late.
    pub(crate) repeated: usize,
    /// keepalived's median gap in seconds, if it was measured before.
    pub(crate) yardstick: Option<f64>,
}

/// keepalived's median gap, if it is among these.
pub(crate) fn yardstick(all: &[Summary]) -> Option<f64> {
    let keepalived = all.iter().find(|summary| summary.case == Case::Keepalived)?;
    median(seconds(&keepalived.trials, |trial| trial.gap))
}

/// A row for each case.
pub(crate) fn table(all: &[Summary]) -> String {
    let mut text = row([
        "case", "claims", "runs", "median_s", "worst_s", "arp_s", "worst", "both_ms", "before", "repeated",
        "goal",
    ]
    .map(str::to_owned));
    for summary in all {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let whole = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let silences = seconds(&summary.trials, |trial| trial.silence);
        text += &row([
            summary.case.name().to_owned(),
            summary.claims.to_string(),
            summary.trials.len().to_string(),
            shown(summary.median()),
            shown(worst(&seconds(&summary.trials, |trial| trial.gap))),
            shown(median(silences.clone())),
            shown(worst(&silences)),
            whole(Some(summary.overlap())),
            whole(summary.before()),
            summary.repeated.to_string(),
            summary.verdict(),
        ]);
    }
    text
}

fn row(cells: [String; 11]) -> String {
    let [case, rest @ .., goal] = cells;
    let mut line = format!("{case:<14}");
    for cell in rest {
        // Writing to a string cannot fail.
        let _always = write!(line, " {cell:>8}");
    }
    format!("{line}  {goal}\n")
}

impl Summary {
    /// One object.
    pub(crate) fn json(&self) -> String {
        let settings = Map::from_iter([
            ("runs".to_owned(), json!(self.trials.len())),
            ("repeated".to_owned(), json!(self.repeated)),
            ("goal".to_owned(), json!(self.case.goal().text())),
            ("met".to_owned(), json!(self.is_met())),
        ]);
        let case = figures::Case { claims: self.claims, figures: self.figures() };
        figures::json("failover", self.case.name(), &settings, &case)
    }

    fn figures(&self) -> Vec<Figure> {
        let gaps = seconds(&self.trials, |trial| trial.gap);
        let silences = seconds(&self.trials, |trial| trial.silence);
        let mean = |of: fn(&Writes) -> usize| {
            let counts: Vec<_> = self.writes().map(|writes| number(of(writes))).collect();
            (!counts.is_empty()).then(|| counts.iter().sum::<f64>() / number(counts.len()))
        };
        let behind = self.yardstick.filter(|_| self.case == POWER).zip(self.median());
        vec![
            Figure::new("median_s", "between two completed connections, median", self.median()),
            Figure::new("worst_s", "the same, worst", worst(&gaps)),
            Figure::new("arp_median_s", "without an answer to ARP, median", median(silences.clone())),
            Figure::new("arp_worst_s", "the same, worst", worst(&silences)),
            Figure::new("overlap_ms", "two nodes answering ARP, worst", self.overlap()),
            Figure::new("lease_writes", "writes of the Lease in a run, mean", mean(|writes| writes.leases)),
            Figure::new("view_writes", "of them new views", mean(|writes| writes.views)),
            Figure::new("claim_writes", "writes of claims in a run, mean", mean(|writes| writes.claims)),
            Figure::new(
                "writes_before",
                "views and claims before the first announcement, worst",
                self.before(),
            ),
            Figure::new(
                "behind_keepalived_s",
                "the median gap less keepalived's",
                behind.map(|(keepalived, own)| own - keepalived),
            ),
        ]
    }

    fn is_met(&self) -> bool {
        self.case.goal().is_met(&self.trials)
    }

    fn verdict(&self) -> String {
        if self.case == Case::Keepalived {
            return self.case.goal().text();
        }
        let met = |met: bool| if met { "met" } else { "MISSED" };
        let mut text = format!("{}: {}", self.case.goal().text(), met(self.is_met()));
        if let (POWER, Some(keepalived), Some(own)) = (self.case, self.yardstick, self.median()) {
            let is_near = own <= keepalived + BEHIND;
            // Writing to a string cannot fail.
            let _always = write!(text, "; {:+.3} s to keepalived: {}", own - keepalived, met(is_near));
        }
        text
    }

    fn median(&self) -> Option<f64> {
        median(seconds(&self.trials, |trial| trial.gap))
    }

    fn overlap(&self) -> f64 {
        1000.0 * worst(&seconds(&self.trials, |trial| trial.overlap)).unwrap_or_default()
    }

    fn before(&self) -> Option<f64> {
        self.writes().filter_map(|writes| writes.before).max().map(number)
    }

    fn writes(&self) -> impl Iterator<Item = &Writes> {
        self.trials.iter().filter_map(|trial| trial.writes.as_ref())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3} s"));
        let gaps = seconds(&self.trials, |trial| trial.gap);
        write!(
            f,
            "    gap {}, at worst {}; goal {}",
            shown(median(gaps.clone())),
            shown(worst(&gaps)),
            self.verdict()
        )
    }
}

fn worst(figures: &[f64]) -> Option<f64> {
    figures.iter().copied().max_by(f64::total_cmp)
}

fn number(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_case_is_one_line_of_json_with_median_and_worst_gap_and_what_is_behind_keepalived() {
        let line = summary(Case::Fault(Fault::Power), &[300, 350, 420]).json();
        let value: Value = serde_json::from_str(&line).unwrap();
        let expected = json!({
            "bench": "failover", "case": "power", "claims": 12, "runs": 3, "repeated": 1, "median_s": 0.35, "worst_s": 0.42,
            "overlap_ms": 0.0, "behind_keepalived_s": 0.03, "met": true, "writes_before": 1.0, "view_writes": 1.0,
        });
        for (key, expected) in expected.as_object().unwrap() {
            assert_eq!(&value[key], expected, "{key}");
        }
        assert!(!line.contains('\n'));
    }

    #[test]
    fn the_table_tells_which_goals_are_missed() {
        let table = table(&[
            summary(Case::Keepalived, &[360]),
            summary(Case::Fault(Fault::Power), &[500]),
            summary(Case::Fault(Fault::Kill), &[10]),
        ]);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].ends_with(" -"), "{table}");
        assert!(lines[2].ends_with("0.8 s: MISSED; +0.180 s to keepalived: MISSED"), "{table}");
        assert!(lines[3].ends_with("never two nodes: met"), "{table}");
    }

    fn summary(case: Case, gaps: &[u64]) -> Summary {
        let writes = Writes { leases: 2, views: 1, claims: 0, before: Some(1) };
        let trial = |gap: &u64| Trial {
            gap: Duration::from_millis(*gap),
            writes: (case != Case::Keepalived).then_some(writes),
            ..Trial::default()
        };
        Summary {
            case,
            claims: 12,
            trials: gaps.iter().map(trial).collect(),
            repeated: 1,
            yardstick: Some(0.32),
        }
    }
}
