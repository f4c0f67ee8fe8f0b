//! What announcers of a plane say to each other, as octets.
//!
//! The same octets are the payload of an Ethernet frame on the plane's own network and of a UDP datagram between node
//! addresses. [`Codec`] signs and reads them; the messages themselves are foghorn-membership's.

mod body;
mod codec;
mod frame;
mod keys;
mod limit;
mod octets;
mod parts;
mod peers;
mod plane;

pub use body::{decode, encode};
pub use codec::{Codec, EncodeError, FORMATS, Format, Heard, Refused};
pub use frame::{LONGEST_FRAME, PLANE_AT};
pub use keys::{KEY_LENGTH, Keys, KeysError};
pub use limit::{Origin, Source};
pub use octets::Malformed;
pub use parts::LONGEST_MESSAGE;
pub use plane::Plane;

/// The EtherType of heartbeats on the plane's own network: the first one for local experiments (IEEE 802).
pub const ETHERTYPE: u16 = 0x88b5;
/// The group of all announcers, locally administered: `03:46:4f:47:48:01`.
pub const GROUP: [u8; 6] = [0x03, b'F', b'O', b'G', b'H', 1];
