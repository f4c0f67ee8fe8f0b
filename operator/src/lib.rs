//! Planes to DaemonSets, Services to claims, claims to Service status.
//!
//! - [`leader`]: of several operators one works; it brings the [`definitions`] in and runs the controllers.
//! - [`planes`]: a `NetworkPlane` becomes a namespace with announcers.
//! - [`services`]: a Service becomes a claim, and what came of the claim becomes the Service's status.
//! - [`context`]: what the controllers share; [`watched`]: one watch for all of them, whatever odd objects it shows.
//! - [`uninstall`]: everything goes, with or without the help of a living operator.

pub mod args;
pub mod context;
pub mod definitions;
pub mod error;
mod index;
pub mod leader;
pub mod metrics;
pub mod planes;
mod reader;
pub mod services;
mod stand_in;
mod trim;
pub mod uninstall;
pub mod watched;
