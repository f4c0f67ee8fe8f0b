//! How long a whole run of the tests may take.

use std::time::Duration;

/// How long `cargo xtask test` may take on two idle cores, with Kubernetes in the cache.
pub const BUDGET: Duration = Duration::from_secs(40 * 60);

/// A part of a run besides the lab tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its heading.
    pub name: &'static str,
    /// How long it may take, in seconds.
    pub seconds: u64,
}

/// What the parts besides the lab tests may take, one after the other.
pub const PARTS: [Part; 5] = [
    Part { name: "formatting", seconds: 10 },
    Part { name: "compile", seconds: 420 },
    Part { name: "tests without a lab, and with servers", seconds: 180 },
    Part { name: "images", seconds: 60 },
    Part { name: "labs", seconds: 60 },
];
