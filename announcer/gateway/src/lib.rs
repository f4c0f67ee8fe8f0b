//! Speaks to gateways: UPnP IGD, NAT-PMP and PCP, from an address of a Service.
//!
//! A [`Speaker`] asks what foghorn-portmap wants asked, and a [`Listener`] hears what gateways say unasked. Whatever a gateway says
//! is a stranger's: it is read within bounds of size, depth and time, and no address but the gateway's own is ever spoken to.

mod alive;
pub mod description;
mod document;
mod exchange;
mod fault;
mod find;
mod http;
pub mod igd;
mod lease;
mod listener;
pub mod natpmp;
mod outlet;
pub mod pcp;
mod place;
mod ports;
mod provider;
mod search;
pub mod soap;
mod speaker;
pub mod ssdp;

pub use alive::Alive;
pub use document::XmlError;
pub use listener::Listener;
pub use place::{Place, PlaceError};
pub use ports::Ports;
pub use speaker::Speaker;
