//! Values as octets: numbers in network order, lists and texts behind their length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Buf, BufMut, TryGetError};
use foghorn_clock::Instant;

/// The longest name that Kubernetes has for anything.
const LONGEST_TEXT: usize = 253;

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end before the message does.
    #[error("it ends too early")]
    Short,
    /// A kind of something that there is none of.
    #[error("{0} is no kind of {1}")]
    Kind(u8, &'static str),
    /// A text is too long, or not UTF-8.
    #[error("a text in it is longer than {LONGEST_TEXT} octets, or no UTF-8")]
    Text,
    /// Bits that have to be zero are not.
    #[error("a list of yes and no is followed by more than zeros")]
    Padding,
}

impl From<TryGetError> for Malformed {
    fn from(_: TryGetError) -> Self {
        Self::Short
    }
}

/// What has a form in octets: one only, so that whatever was read is written alike.
pub(crate) trait Octets: Sized {
    /// Writes it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it, and leaves what follows.
    fn take(octets: &mut &[u8]) -> Result<Self, Malformed>;
}

/// A structure is its fields, in this order. Those after the `+` came later: senders of before end without them.
macro_rules! fields {
    ($type:ty { $($field:ident),+ $(,)? } $(+ { $($later:ident),+ })?) => {
        impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)+
                $($(self.$later.put(out);)+)?
            }

            fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
                Ok(Self {
                    $($field: Octets::take(octets)?,)+
                    $($($later: if octets.is_empty() { Default::default() } else { Octets::take(octets)? },)+)?
                })
            }
        }
    };
}
pub(crate) use fields;

macro_rules! number {
    ($($type:ty: $put:ident, $take:ident;)+) => {$(
        impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.$put(*self);
            }

            fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
                Ok(octets.$take()?)
            }
        }
    )+};
}

number! {
    u8: put_u8, try_get_u8;
    u16: put_u16, try_get_u16;
    u32: put_u32, try_get_u32;
    u64: put_u64, try_get_u64;
    u128: put_u128, try_get_u128;
    i64: put_i64, try_get_i64;
}

impl Octets for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8((*self).into());
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        match u8::take(octets)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed::Kind(other, "yes or no")),
        }
    }
}

/// Nanoseconds. All ones is never.
impl Octets for Instant {
    fn put(&self, out: &mut Vec<u8>) {
        u64::try_from(self.since_boot().as_nanos()).unwrap_or(u64::MAX).put(out);
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        Ok(match u64::take(octets)? {
            u64::MAX => Self::NEVER,
            nanoseconds => Self::from_boot(std::time::Duration::from_nanos(nanoseconds)),
        })
    }
}

impl Octets for Ipv4Addr {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_bits().put(out);
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        u32::take(octets).map(Self::from_bits)
    }
}

impl Octets for IpAddr {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(address) => (4_u8, *address).put(out),
            Self::V6(address) => (6_u8, address.to_bits()).put(out),
        }
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        match u8::take(octets)? {
            4 => Ipv4Addr::take(octets).map(Self::V4),
            6 => u128::take(octets).map(Ipv6Addr::from_bits).map(Self::V6),
            other => Err(Malformed::Kind(other, "address")),
        }
    }
}

impl Octets for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.put_slice(self.as_bytes());
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        let length = take_length(octets)?;
        if length > LONGEST_TEXT {
            return Err(Malformed::Text);
        }
        let (text, rest) = octets.split_at_checked(length).ok_or(Malformed::Short)?;
        *octets = rest;
        str::from_utf8(text).map(str::to_owned).map_err(|_| Malformed::Text)
    }
}

impl<A: Octets, B: Octets> Octets for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        Ok((A::take(octets)?, B::take(octets)?))
    }
}

impl<T: Octets> Octets for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        bool::take(octets)?.then(|| T::take(octets)).transpose()
    }
}

/// Memory is taken as items come: a length alone costs nothing.
impl<T: Octets> Octets for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(octets: &mut &[u8]) -> Result<Self, Malformed> {
        let length = take_length(octets)?;
        let mut items = Self::new();
        for _ in 0..length {
            items.push(T::take(octets)?);
        }
        Ok(items)
    }
}

/// Writes eight of them in an octet, the first one in the highest bit.
pub(crate) fn put_bits(bits: &[bool], out: &mut Vec<u8>) {
    put_length(bits.len(), out);
    for eight in bits.chunks(8) {
        out.put_u8(eight.iter().zip(BITS).map(|(&set, bit)| if set { bit } else { 0 }).sum());
    }
}

/// Reads what [`put_bits`] wrote.
pub(crate) fn take_bits(octets: &mut &[u8]) -> Result<Vec<bool>, Malformed> {
    let length = take_length(octets)?;
    let (packed, rest) = octets.split_at_checked(length.div_ceil(8)).ok_or(Malformed::Short)?;
    *octets = rest;
    let mut bits: Vec<bool> = packed.iter().flat_map(|octet| BITS.map(|bit| octet & bit != 0)).collect();
    if bits.drain(length..).any(|bit| bit) {
        return Err(Malformed::Padding);
    }
    Ok(bits)
}

const BITS: [u8; 8] = [0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1];

/// What is longer than the length can say is far longer than a message may be.
fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).put(out);
}

fn take_length(octets: &mut &[u8]) -> Result<usize, Malformed> {
    usize::try_from(u32::take(octets)?).map_err(|_| Malformed::Short)
}
