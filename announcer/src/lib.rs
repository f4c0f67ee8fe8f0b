//! Holds the addresses of one network plane on one node.
//!
//! Data flows one way: [`watch`] (API) and the packet socket → [`engine`] → frames, and [`report`]s to the API.
//! [`port`] carries the frames, [`ownership`] says which claims this node holds, and [`heartbeat`] until when, on a
//! thread of its own. [`run`] is the loop around all.

pub mod args;
pub mod claim_id;
pub mod datapath;
pub mod engine;
pub mod events;
#[cfg(test)]
mod fixtures;
pub mod forwarding;
pub mod heartbeat;
pub mod host_address;
pub mod interface;
pub mod metrics;
pub mod ownership;
pub mod plane_lease;
pub mod pod_conditions;
pub mod port;
pub mod proxy;
pub mod report;
pub mod restart;
pub mod routers;
pub mod run;
pub mod settings;
pub mod snapshot;
pub mod watch;
