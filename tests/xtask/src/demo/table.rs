//! The table of the demo: which Service has which address, and who holds it.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use foghorn_lab::{Lab, Result, steps::say};
use serde_json::Value;

/// A Service, and what has come of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    /// The plane, once there is a claim.
    pub(crate) plane: String,
    pub(crate) service: String,
    /// The address in the Service's status; empty while there is none.
    pub(crate) address: String,
    /// The node that answers for it; empty while there is none.
    pub(crate) holder: String,
    /// The state of the claim.
    pub(crate) state: String,
}

impl Row {
    pub(crate) fn is_served(&self) -> bool {
        !self.address.is_empty() && !self.holder.is_empty()
    }
}

/// The rows as they were last shown: drawn over again on a terminal, else a line for each change.
pub(crate) struct Table {
    is_terminal: bool,
    start: Instant,
    rows: Vec<(Row, Duration)>,
    lines_drawn: usize,
}

impl Table {
    /// Seconds count from now on.
    pub(crate) fn new() -> Self {
        say(&line(["PLANE", "SERVICE", "ADDRESS", "HOLDER", "STATE", "SECONDS"]));
        Self {
            is_terminal: io::stdout().is_terminal(),
            start: Instant::now(),
            rows: Vec::new(),
            lines_drawn: 0,
        }
    }

    /// Shows what there is now, and gives the rows, sorted by plane.
    pub(crate) fn look(&mut self, lab: &Lab) -> Result<Vec<Row>> {
        let objects = lab.kubectl_json(&["get", "services,addressclaims", "--all-namespaces"])?;
        let (rows, now) = (rows(&objects), self.start.elapsed());
        let before = std::mem::take(&mut self.rows);
        for row in &rows {
            let unchanged = before.iter().find(|(known, _)| known == row);
            let since = unchanged.map_or(now, |(_, since)| *since);
            if unchanged.is_none() && !self.is_terminal {
                say(&shown(row, since));
            }
            self.rows.push((row.clone(), since));
        }
        if self.is_terminal {
            self.draw(now);
        }
        Ok(rows)
    }

    fn draw(&mut self, now: Duration) {
        let lines =
            self.rows.iter().map(|(row, since)| shown(row, if row.is_served() { *since } else { now }));
        let lines: Vec<_> = lines.collect();
        // The cursor goes up to the first row, and what is below it is cleared.
        let over =
            if self.lines_drawn > 0 { format!("\x1b[{}A\x1b[J", self.lines_drawn) } else { String::new() };
        self.lines_drawn = lines.len();
        if !lines.is_empty() {
            say(&format!("{over}{}", lines.join("\n")));
        }
    }
}

/// The Services of type LoadBalancer in a list of Services and claims.
fn rows(objects: &Value) -> Vec<Row> {
    let items = || objects.get("items").and_then(Value::as_array).into_iter().flatten();
    let is_balanced = |item: &&Value| text(item, "/spec/type") == "LoadBalancer";
    let row = |service: &Value| {
        let name = text(service, "/metadata/name");
        let is_its_claim = |item: &&Value| {
            text(item, "/kind") == "AddressClaim"
                && text(item, "/spec/serviceRef/name") == name
                && text(item, "/spec/serviceRef/namespace") == text(service, "/metadata/namespace")
        };
        let claim = items().find(is_its_claim).unwrap_or(&Value::Null);
        Row {
            plane: text(claim, "/metadata/namespace").trim_start_matches("foghorn-").to_owned(),
            address: text(service, "/status/loadBalancer/ingress/0/ip"),
            holder: text(claim, "/status/holder"),
            state: text(claim, "/status/state"),
            service: name,
        }
    };
    let mut rows: Vec<_> = items().filter(is_balanced).map(row).collect();
    rows.sort_by(|a, b| (&a.plane, &a.service).cmp(&(&b.plane, &b.service)));
    rows
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn shown(row: &Row, since: Duration) -> String {
    let Row { plane, service, address, holder, state } = row;
    let seconds = format!("{:.1}", since.as_secs_f32());
    line(
        [plane, service, address, holder, state, &seconds]
            .map(|text| if text.is_empty() { "-" } else { text }),
    )
}

fn line(cells: [&str; 6]) -> String {
    let [plane, service, address, holder, state, seconds] = cells;
    format!("{plane:12} {service:12} {address:16} {holder:7} {state:10} {seconds:>7}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_without_a_claim_has_a_row_and_one_of_another_type_has_none() {
        let objects = json!({"items": [
            {"kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"type": "ClusterIP"}},
            {"kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "LoadBalancer"}},
        ]});
        let rows = rows(&objects);
        assert_eq!(rows.len(), 1);
        assert!(!rows[0].is_served());
        assert_eq!(shown(&rows[0], Duration::from_millis(1540)), line(["-", "web", "-", "-", "-", "1.5"]));
    }

    #[test]
    fn a_row_has_the_address_of_the_service_and_the_holder_of_its_own_claim() {
        let objects = json!({"items": [
            {"kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "LoadBalancer"},
             "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.50"}]}}},
            claim("elsewhere", "w1"),
            claim("default", "w2"),
        ]});
        let expected = Row {
            plane: "public-prod".to_owned(),
            service: "web".to_owned(),
            address: "203.0.113.50".to_owned(),
            holder: "w2".to_owned(),
            state: "Bound".to_owned(),
        };
        assert_eq!(rows(&objects), [expected]);
    }

    fn claim(namespace: &str, holder: &str) -> Value {
        json!({"kind": "AddressClaim", "metadata": {"namespace": "foghorn-public-prod"},
            "spec": {"serviceRef": {"name": "web", "namespace": namespace}},
            "status": {"holder": holder, "state": "Bound"}})
    }
}
