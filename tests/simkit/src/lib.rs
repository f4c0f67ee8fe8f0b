//! What the simulated worlds share. Each world keeps its own events, faults and rules.
//!
//! A run depends on its seed alone: nothing in here reads a clock or draws a random number.

mod journal;
mod seeds;
mod timeline;

pub use journal::Journal;
pub use seeds::play;
pub use timeline::Timeline;
