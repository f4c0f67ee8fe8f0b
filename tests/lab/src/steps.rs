//! What tools print while they work: steps with a heading and a duration.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

pub use crate::progress::say;
use crate::{Lab, LabName, error::Result};

/// Does a step: a heading before, its duration after.
///
/// # Errors
/// Those of `work`.
pub fn step<T>(heading: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("\n==> {heading}"));
    let start = Instant::now();
    let done = work();
    let how = if done.is_ok() { "done" } else { "FAILED" };
    say(&format!("    {how} after {:.1} s", start.elapsed().as_secs_f32()));
    done
}

/// Does the work and takes the lab down whatever comes of it, a panic included.
///
/// # Errors
/// Those of `work`, else what is left of the lab.
pub fn taking_down<T>(lab: &LabName, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let ended = catch_unwind(AssertUnwindSafe(work));
    let down = step(&format!("take the lab `{lab}` down"), || Lab::down(lab));
    match (ended, down) {
        (Ok(Err(error)), Err(another)) => {
            say(&another.to_string());
            Err(error)
        }
        (Ok(ended), down) => ended.and_then(|done| down.map(|()| done)),
        (Err(panic), _) => resume_unwind(panic),
    }
}
