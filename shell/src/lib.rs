//! What both programs need around their logic: logs, probes, metrics, the Lease adapter.

pub mod api_clock;
pub mod client;
pub mod clock;
pub mod elect;
pub mod http;
pub mod lease_store;
pub mod logs;
pub mod readable;
pub mod shutdown;
pub mod watching;
