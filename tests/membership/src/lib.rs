//! A plane's members in a simulated world: their clocks, the network, the API server, and what goes wrong.
//!
//! The machine in it is the product's, [`foghorn_membership::Member`]. Two things play faults in a [`World`]: random
//! schedules in steps of a millisecond, and a model checker that tries all of few faults in coarse steps.

mod api;
mod fault;
mod model;
mod moment;
mod node;
mod schedule;
mod weather;
mod witness;
mod world;

pub use fault::{Away, Fault, Hand};
pub use model::{COARSE_BOUNDS, STEP, Search, State, coarse_settings};
pub use moment::{Clock, Moment, Reading};
pub use schedule::{Kind, Played, Schedule, gathered, settings};
pub use weather::{Climate, Figures, Weather};
pub use witness::{Bounds, Breach, Overlaps};
pub use world::{Plan, Surroundings, World};
