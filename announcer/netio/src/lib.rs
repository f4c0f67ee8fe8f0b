//! Packet sockets, a UDP socket, netlink and the clock: the only crate with unsafe code, all of it in one file.

pub mod clock;
pub mod datagram;
pub mod family;
pub mod fenced;
pub mod filter;
pub mod links;
pub mod monitor;
pub mod packet;
mod readiness;
pub mod routing;
mod sys;

pub use datagram::{DatagramError, DatagramSocket};
pub use family::Family;
pub use links::{Link, Netlink, NetlinkError};
pub use monitor::LinkMonitor;
pub use packet::{Group, PacketSocket, PacketType, Received, SendError, SocketError};
pub use routing::{MarkRule, TableRoute};
