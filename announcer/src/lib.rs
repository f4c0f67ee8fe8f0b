//! Holds the addresses of one network plane on one node.
//!
//! Data flows one way: [`watch`] (API) and the packet socket → [`engine`] → frames, and [`report`]s to the API.
//! [`port`] carries the frames, [`run`] is the loop around all.

pub mod args;
pub mod claim_id;
pub mod engine;
pub mod heartbeat;
pub mod interface;
pub mod metrics;
pub mod node;
pub mod plane_lease;
pub mod port;
pub mod report;
pub mod run;
pub mod watch;
