//! One frame: header, body, HMAC.
//!
//! | octets | what |
//! | --- | --- |
//! | 4 | `FOGH` |
//! | 1 | version of the wire that the body is written in |
//! | 1 | greatest version that the sender can read |
//! | 4 | id of the key that the HMAC is made with |
//! | 4 | greatest id of a key that the sender has |
//! | 8 | plane |
//! | 8 | sender: its incarnation |
//! | 8 | number of the message, which rises with each one of the sender |
//! | 2 | which part of the message this is, from zero |
//! | 2 | of how many |
//! | 2 | octets of the body |
//! | … | body |
//! | 16 | HMAC, cut short, of all before and of the path: 1 and the MAC address that it is sent from, or 2 by UDP |
//!
//! What follows is not looked at: short Ethernet frames are filled up. Header and HMAC are the same in all versions.

use foghorn_membership::MemberId;

use crate::{
    keys::TAG_LENGTH,
    octets::{Malformed, Octets, fields},
};

/// Octets of the longest frame. With the headers of UDP and IPv6 it fits into a tunnel's packets on an Ethernet.
pub const LONGEST_FRAME: usize = 1_400;
/// Octets of the longest body; every part of a message but the last is so long.
pub(crate) const LONGEST_BODY: usize = LONGEST_FRAME - HEADER_LENGTH - TAG_LENGTH;
const HEADER_LENGTH: usize = 44;
/// Where in a frame the plane is.
pub const PLANE_AT: u16 = 14;

/// `FOGH`.
pub(crate) const MAGIC: u32 = 0x464f_4748;

/// What stands in front of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) magic: u32,
    pub(crate) version: u8,
    pub(crate) reads: u8,
    pub(crate) key: u32,
    pub(crate) newest_key: u32,
    pub(crate) plane: u64,
    pub(crate) sender: MemberId,
    pub(crate) number: u64,
    pub(crate) part: u16,
    pub(crate) parts: u16,
    pub(crate) length: u16,
}

fields!(Header { magic, version, reads, key, newest_key, plane, sender, number, part, parts, length });

/// A frame that was taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) body: &'a [u8],
    /// Header and body.
    pub(crate) signed: &'a [u8],
    pub(crate) tag: &'a [u8; TAG_LENGTH],
}

impl<'a> Frame<'a> {
    /// Takes octets apart, without a look at what the header says.
    pub(crate) fn split(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = octets;
        let header = Header::take(&mut rest)?;
        let length = usize::from(header.length);
        let (signed, after) = octets.split_at_checked(HEADER_LENGTH + length).ok_or(Malformed::Short)?;
        let body = rest.get(..length).ok_or(Malformed::Short)?;
        let tag = after.first_chunk().ok_or(Malformed::Short)?;
        Ok(Self { header, body, signed, tag })
    }
}
