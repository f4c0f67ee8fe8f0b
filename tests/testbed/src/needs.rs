//! What a test declares before it runs.

use std::any::type_name;

use foghorn_schedule::{Declaration, Need, USUAL_SECONDS};

/// What a test needs of its lab, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    need: Need,
    seconds: u64,
    why: Option<&'static str>,
}

/// The test disturbs nothing but its own plane and namespaces: others run beside it in the same lab.
#[must_use]
pub const fn shares_the_lab() -> Needs {
    Needs::of(Need::SharesTheLab)
}

/// The test takes nodes, cables, DHCP servers, gateways or the API server away.
#[must_use]
pub const fn disturbs_nodes() -> Needs {
    Needs::of(Need::DisturbsNodes)
}

/// The test installs, changes or removes the chart.
#[must_use]
pub const fn reinstalls_the_chart() -> Needs {
    Needs::of(Need::ReinstallsTheChart)
}

impl Needs {
    const fn of(need: Need) -> Self {
        Self { need, seconds: USUAL_SECONDS, why: None }
    }

    /// The test takes no more than that many seconds, which are fewer than [`USUAL_SECONDS`].
    #[must_use]
    pub const fn at_most(self, seconds: u64) -> Self {
        Self { seconds, ..self }
    }

    /// The test may take that many seconds instead of [`USUAL_SECONDS`], for this reason.
    #[must_use]
    pub const fn within(self, seconds: u64, why: &'static str) -> Self {
        Self { seconds, why: Some(why), ..self }
    }

    /// The declaration of the test whose closure this type is.
    pub(crate) fn declared_by<F>(self) -> Declaration {
        let why = self.why.map(str::to_owned);
        Declaration { name: test_name(type_name::<F>()), need: self.need, seconds: self.seconds, why }
    }
}

/// The name that the test program has for a test, from that of its closure: `e2e::dhcp::renewed::{{closure}}`.
fn test_name(closure: &str) -> String {
    let path = closure.split("::{{closure}}").next().unwrap_or_default();
    path.split_once("::").map_or(path, |(_program, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_by_its_closure() {
        fn declared<F: FnOnce()>(_closure: F) -> String {
            shares_the_lab().declared_by::<F>().name
        }
        assert_eq!(declared(|| ()), "needs::tests::a_test_is_named_by_its_closure");
        assert_eq!(test_name("e2e::dhcp::renewed::{{closure}}"), "dhcp::renewed");
    }
}
