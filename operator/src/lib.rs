//! Planes to DaemonSets, Services to claims, claims to Service status.
//!
//! - [`planes`]: a `NetworkPlane` becomes a namespace with announcers.
//! - [`services`]: a Service becomes a claim, and what came of the claim becomes the Service's status.
//! - [`context`]: what the controllers share.

pub mod args;
pub mod context;
pub mod metrics;
pub mod planes;
pub mod services;
pub mod watched;
