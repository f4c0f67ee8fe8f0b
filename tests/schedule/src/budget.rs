//! How long a whole run of the tests may take.

use std::time::Duration;

/// How long `cargo xtask test` may take on two idle cores, with Kubernetes in the cache.
pub const BUDGET: Duration = Duration::from_secs(43 * 60);

/// A part of a run besides the lab tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its heading.
    pub name: &'static str,
    /// How long it may take, in seconds.
    pub seconds: u64,
}

/// What the parts besides the lab tests may take, one after the other.
pub const PARTS: [Part; 4] = [
    Part { name: "formatting, compile and lint", seconds: 400 },
    Part { name: "images", seconds: 20 },
    Part { name: "tests without a lab; servers, the kernel, the lab itself and the demo", seconds: 200 },
    Part { name: "labs, up and down", seconds: 60 },
];
