//! Which lab test runs when and in which lab.
//!
//! Each lab test makes a [`Declaration`]: its [`Need`] and how long it may take. A [`Schedule`] hands the tests out to
//! [`Place`]s; [`predict`] plays a schedule with the declared times and says when the last test ends. All of it is pure:
//! no process, no clock.

mod budget;
mod declaration;
mod predict;
mod schedule;

pub use budget::{BUDGET, PARTS, Part};
pub use declaration::{DECLARE, Declaration, Need, USUAL_SECONDS};
pub use predict::predict;
pub use schedule::{LABS, LANES, Next, Place, Schedule};
