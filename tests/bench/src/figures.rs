//! Figures: as a table to read, or as JSON, one object a line.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// Something that was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Figure {
    /// Ends with the unit.
    name: &'static str,
    what: &'static str,
    value: Option<f64>,
}

impl Figure {
    /// `None` where there is nothing to measure, as the rate of a single event.
    pub(crate) fn new(name: &'static str, what: &'static str, value: impl Into<Option<f64>>) -> Self {
        Self { name, what, value: value.into() }
    }
}

/// What was measured in one case; the same figures in each.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Case {
    pub(crate) claims: usize,
    pub(crate) figures: Vec<Figure>,
}

/// The middle one of figures in any order, of two middle ones the mean; `None` if there is none.
pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (lower, upper) = (figures.get(figures.len().saturating_sub(1) / 2)?, figures.get(figures.len() / 2)?);
    Some(f64::midpoint(*lower, *upper))
}

/// A table with a column for each case.
pub(crate) fn table(cases: &[Case]) -> String {
    let mut text = row("claims", "", cases.iter().map(|case| case.claims.to_string()));
    for (n, Figure { name, what, .. }) in cases.first().iter().flat_map(|case| &case.figures).enumerate() {
        let values = cases.iter().map(|case| case.figures.get(n).and_then(|figure| figure.value));
        text += &row(name, what, values.map(shown));
    }
    text
}

fn row(name: &str, what: &str, cells: impl Iterator<Item = String>) -> String {
    let mut line = format!("{name:<22} {what:<58}");
    for cell in cells {
        // Writing to a string cannot fail.
        let _always = write!(line, " {cell:>8}");
    }
    format!("{}\n", line.trim_end())
}

/// As many digits as are worth reading.
fn shown(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// A line of JSON: which benchmark and which case of it, `settings` as they are, and the figures by their names.
pub(crate) fn json(bench: &str, name: &str, settings: &Map<String, Value>, case: &Case) -> String {
    let mut object = Map::new();
    object.insert("bench".to_owned(), json!(bench));
    object.insert("case".to_owned(), json!(name));
    object.insert("claims".to_owned(), json!(case.claims));
    object.extend(settings.clone());
    let rounded = |figure: f64| (figure * 1000.0).round() / 1000.0;
    let value = |figure: &Figure| (figure.name.to_owned(), json!(figure.value.map(rounded)));
    object.extend(case.figures.iter().map(value));
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_case_and_a_row_for_each_measure() {
        let table = table(&[case(1, 0.5534, None), case(1000, 121.26, Some(49.97))]);
        let words: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["claims", "1", "1000"]);
        assert_eq!(words[1], ["bound_s", "until", "all", "are", "bound", "0.55", "121"]);
        assert_eq!(words[2], ["discovers_per_s", "DISCOVERs", "in", "a", "second", "-", "50.0"]);
    }

    #[test]
    fn a_case_is_one_line_of_json_with_figures_by_name() {
        let settings = Map::from_iter([("server".to_owned(), json!("dnsmasq"))]);
        let line = json("acquire", "at once", &settings, &case(10, 0.55349, None));
        let expected = json!({
            "bench": "acquire", "case": "at once", "claims": 10, "server": "dnsmasq",
            "bound_s": 0.553, "discovers_per_s": null,
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        assert!(!line.contains('\n'));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_ones() {
        let medians = [vec![], vec![3.0, 1.0, 2.0], vec![4.0, 1.0]].map(median);
        assert_eq!(medians, [None, Some(2.0), Some(2.5)]);
    }

    fn case(claims: usize, bound: f64, rate: Option<f64>) -> Case {
        let figures = vec![
            Figure::new("bound_s", "until all are bound", bound),
            Figure::new("discovers_per_s", "DISCOVERs in a second", rate),
        ];
        Case { claims, figures }
    }
}
