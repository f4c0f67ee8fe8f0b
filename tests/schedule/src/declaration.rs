//! What a lab test declares of itself.

use serde::{Deserialize, Serialize};

/// The environment variable that makes a lab test print its declaration instead of running.
pub const DECLARE: &str = "FOGHORN_DECLARE";
/// How long a lab test may take if it does not say more, in seconds.
pub const USUAL_SECONDS: u64 = 60;
/// What the line with a declaration begins with.
const PREFIX: &str = "foghorn-declares ";

/// What a lab test needs of its lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Need {
    /// It disturbs nothing but its own plane and namespace: others run beside it in the same lab.
    SharesTheLab,
    /// It takes nodes, cables, DHCP servers, gateways or the API server away: it has a lab to itself.
    DisturbsNodes,
    /// It installs, changes or removes the chart: it has a lab to itself, after the tests that want the chart as it is.
    ReinstallsTheChart,
}

/// What a lab test declares before it runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Declaration {
    /// The test's name as its program lists it, e.g. `dhcp::a_short_lease_is_renewed`.
    pub name: String,
    /// What it needs of its lab.
    pub need: Need,
    /// How long it may take, in seconds.
    pub seconds: u64,
    /// Why it may take longer than [`USUAL_SECONDS`].
    pub why: Option<String>,
}

impl Declaration {
    /// The line by which a test program prints it.
    #[must_use]
    pub fn line(&self) -> String {
        // A structure of strings and numbers can always be written as JSON.
        format!("{PREFIX}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// Finds a declaration in a line of a test program's output.
    #[must_use]
    pub fn find(line: &str) -> Option<Self> {
        let (_, json) = line.split_once(PREFIX)?;
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_found_in_a_line_of_output() {
        let declaration = Declaration {
            name: "dhcp::a_short_lease_is_renewed".to_owned(),
            need: Need::DisturbsNodes,
            seconds: 180,
            why: Some("two renewals of a lease of 120 s".to_owned()),
        };
        let line = format!("test dhcp::a_short_lease_is_renewed ... {}", declaration.line());
        assert_eq!(Declaration::find(&line), Some(declaration));
        assert_eq!(Declaration::find("test dhcp::a_short_lease_is_renewed ... ok"), None);
    }
}
