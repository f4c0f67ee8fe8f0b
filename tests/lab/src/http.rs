//! What programs in the lab say over HTTP.

use crate::{
    error::{Error, Result},
    host::Host,
};

/// Asks from a host: status and body. A program that does not answer within two seconds is an error.
///
/// # Errors
/// What curl says.
pub fn fetch(host: &Host, url: &str) -> Result<(u16, String)> {
    let said = host.exec(&["curl", "-sS", "--max-time", "2", "-w", "\n%{http_code}", url])?;
    let parsed =
        said.rsplit_once('\n').and_then(|(body, status)| Some((status.parse().ok()?, body.to_owned())));
    parsed.ok_or_else(|| Error::Malformed { what: format!("the answer of {url}"), why: said })
}

/// Metrics in the OpenMetrics text format.
#[derive(Debug)]
pub struct Metrics(String);

impl Metrics {
    /// What a program serves under `/metrics`.
    ///
    /// # Errors
    /// What curl says, and any status but 200.
    pub fn fetch(host: &Host, authority: &str) -> Result<Self> {
        match fetch(host, &format!("http://{authority}/metrics"))? {
            (200, text) => Ok(Self(text)),
            (status, text) => Err(Error::Malformed {
                what: format!("the metrics of {authority}"),
                why: format!("{status} {text}"),
            }),
        }
    }

    /// The sum of all samples of that name that have these labels, each given as `name="value"`; `None` if there is none.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, with) = series.split_once('{').unwrap_or((series, ""));
            let with: Vec<_> = with.trim_end_matches('}').split(',').collect();
            (found == name && labels.iter().all(|label| with.contains(label))).then(|| value.parse().ok())?
        };
        self.0.lines().filter_map(sample).reduce(|sum, value: f64| sum + value)
    }

    /// [`get`](Self::get), 0 if there is none.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[&str]) -> f64 {
        self.get(name, labels).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels_and_summed() {
        let metrics = Metrics(
            "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\nab 9\n# EOF\n"
                .to_owned(),
        );
        assert_eq!(metrics.get("a_total", &["x=\"1\""]), Some(7.0));
        assert_eq!(metrics.get("a_total", &["y=\"3\"", "x=\"1\""]), Some(4.0));
        assert_eq!(metrics.get("a_total", &["y=\"4\""]), None);
        assert_eq!(metrics.get("ab", &[]), Some(9.0));
        assert_eq!(metrics.get("a", &[]), None);
    }
}
