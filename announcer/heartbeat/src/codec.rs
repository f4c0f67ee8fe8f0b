//! Messages to frames, and frames to messages.

use foghorn_clock::Instant;
use foghorn_membership::{MemberId, Message};

use crate::{
    Keys, Origin, Plane, Source, body,
    frame::{Frame, Header, LONGEST_BODY, MAGIC},
    keys::Seals,
    limit::Limit,
    octets::{Malformed, Octets as _},
    parts::{LONGEST_MESSAGE, Parts},
    peers::{Peers, Shown},
};

/// How messages are written in one version of the wire.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The version.
    pub version: u8,
    /// Appends a message to the octets.
    pub encode: fn(&Message<Instant>, &mut Vec<u8>),
    /// Reads a message of that member.
    pub decode: fn(MemberId, &[u8]) -> Result<Message<Instant>, Malformed>,
}

/// The versions that announcers of this build write and read, the lowest first.
pub const FORMATS: &[Format] = &[Format { version: 1, encode: body::encode, decode: body::decode }];

/// A message that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No receiver would put it together.
    #[error(
        "a message of {0} octets is longer than {LONGEST_MESSAGE}: the plane has too many members or claims"
    )]
    TooLong(usize),
    /// There is no version to write in.
    #[error("this announcer has no version of the wire")]
    NoVersion,
}

/// Why a frame is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no frame of announcers.
    #[error("{0} sends what is no heartbeat: {1}")]
    Malformed(Source, Malformed),
    /// It does not begin as a heartbeat does.
    #[error("{0} sends what is no heartbeat")]
    Foreign(Source),
    /// It is another plane's, or another cluster's.
    #[error("a heartbeat of another plane from {0}")]
    OtherPlane(Source),
    /// It was sent from here, and came back.
    #[error("a heartbeat of this announcer came back from {0}")]
    Own(Source),
    /// The sender writes in a version that this announcer cannot read.
    #[error(
        "{from} sends heartbeats in version {version} and this announcer reads up to {reads}: it is heard once the \
         other has heard this one, or both have the same release"
    )]
    Version {
        /// Who sent it.
        from: Source,
        /// The version.
        version: u8,
        /// The greatest that this announcer reads.
        reads: u8,
    },
    /// It is signed with a key that this announcer does not have.
    #[error(
        "{from} signs heartbeats with key {key}, which this announcer does not have: either node has not got the \
         present Secret yet, or a key was removed before all announcers had the other one"
    )]
    Key {
        /// Who sent it.
        from: Source,
        /// The key's id.
        key: u32,
    },
    /// The source has sent too much.
    #[error("more frames from {0} than are looked at")]
    TooMany(Source),
    /// Its HMAC is wrong: it was changed, or its sender does not have the key.
    #[error(
        "a heartbeat from {0} with a wrong signature: it was changed, sent again by another path or from another \
         MAC address, or its sender has another key under the same number"
    )]
    Signature(Source),
    /// It is signed and yet no message.
    #[error("a signed heartbeat from {0} is no message: {1}")]
    Body(Source, Malformed),
}

impl Refused {
    /// In a word, for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(..) | Self::Foreign(_) => "malformed",
            Self::OtherPlane(_) => "other-plane",
            Self::Own(_) => "own",
            Self::Version { .. } => "unknown-version",
            Self::Key { .. } => "unknown-key",
            Self::TooMany(_) => "rate-limit",
            Self::Signature(_) => "bad-hmac",
            Self::Body(..) => "malformed-body",
        }
    }
}

/// What a good frame said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Who sent it.
    pub from: MemberId,
    /// The message; none while parts of it are missing.
    pub message: Option<Message<Instant>>,
}

/// One announcer's side of the wire.
///
/// A message is one frame, or several if it is long. Each frame is signed, so that a bad one harms nothing but itself;
/// what costs little is looked at before the signature is.
///
/// # Versions and keys
/// Each frame says the greatest version and the greatest key id that its sender knows. A sender writes in the greatest
/// version, and signs with the greatest key, that all those can read whom it has heard in the last ten seconds; in the
/// lowest version and with the lowest key while it hears nobody. So
/// - a new version or key is used by a sender only after everyone that it hears has shown that it knows it: none of
///   them drops a frame;
/// - a member with an old version, or whose node has not got the new key yet, takes all others back with the first
///   frame that they hear of it, and they can read that, since what is old is still read;
/// - the old key can be removed as soon as every member has the new one. While the removal spreads those that still
///   have both keys hear nobody who has not the new one, and sign with it. One that starts just then with both keys
///   signs its first frame with the old one, and goes over to the new one with the first frame that it hears.
///
/// A frame is good only on the path that it was sent by, and from the MAC address that it was sent from. One that is
/// sent again by somebody else can only bring a sender back to the older of the versions and keys that all know.
#[derive(Clone, Debug)]
pub struct Codec {
    me: MemberId,
    plane: Plane,
    formats: &'static [Format],
    seals: Seals,
    number: u64,
    peers: Peers,
    limit: Limit,
    parts: Parts,
    body: Vec<u8>,
    frame: Vec<u8>,
}

impl Codec {
    /// The side of the announcer with this incarnation, in the versions `formats` (see [`FORMATS`]).
    #[must_use]
    pub fn new(me: MemberId, plane: Plane, keys: &Keys, formats: &'static [Format]) -> Self {
        Self {
            me,
            plane,
            formats,
            seals: Seals::new(keys, &plane),
            number: 0,
            peers: Peers::default(),
            limit: Limit::default(),
            parts: Parts::default(),
            body: Vec::new(),
            frame: Vec::new(),
        }
    }

    /// The plane whose frames these are.
    #[must_use]
    pub const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Other keys from now on.
    pub fn set_keys(&mut self, keys: &Keys) {
        self.seals = Seals::new(keys, &self.plane);
    }

    /// Writes a message of this announcer, and gives each of its frames to `send`, for each of the paths.
    ///
    /// # Errors
    /// If the message is too long. Nothing is sent then.
    pub fn encode(
        &mut self,
        now: Instant,
        message: &Message<Instant>,
        origins: &[Origin],
        mut send: impl FnMut(Origin, &[u8]),
    ) -> Result<(), EncodeError> {
        let common = self.peers.common(now).unwrap_or(Shown { version: 0, key: 0 });
        let known = |format: &&Format| format.version <= common.version;
        let format = self.formats.iter().rfind(known).or_else(|| self.formats.first());
        let format = format.ok_or(EncodeError::NoVersion)?;
        self.body.clear();
        (format.encode)(message, &mut self.body);
        let too_long = EncodeError::TooLong(self.body.len());
        if self.body.len() > LONGEST_MESSAGE {
            return Err(too_long);
        }
        self.number += 1;
        let mut header = Header {
            magic: MAGIC,
            version: format.version,
            reads: self.reads(),
            key: self.seals.newest_up_to(common.key),
            newest_key: self.seals.newest(),
            plane: self.plane.id(),
            sender: message.from,
            number: self.number,
            part: 0,
            parts: u16::try_from(self.body.len().div_ceil(LONGEST_BODY)).map_err(|_| too_long)?,
            length: 0,
        };
        for body in self.body.chunks(LONGEST_BODY) {
            header.length = u16::try_from(body.len()).map_err(|_| too_long)?;
            self.frame.clear();
            header.put(&mut self.frame);
            self.frame.extend_from_slice(body);
            let signed = self.frame.len();
            for origin in origins {
                self.frame.truncate(signed);
                self.seals.sign(header.key, *origin, &mut self.frame);
                send(*origin, &self.frame);
            }
            header.part += 1;
        }
        Ok(())
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// If it is not to be used. That is to be counted; it says nothing of the member that it names.
    pub fn decode(&mut self, now: Instant, source: Source, octets: &[u8]) -> Result<Heard, Refused> {
        let frame = Frame::split(octets).map_err(|error| Refused::Malformed(source, error))?;
        let header = frame.header;
        let format = self.check(source, &header)?;
        if !self.limit.allow(now, source) {
            return Err(Refused::TooMany(source));
        }
        if !self.seals.verify(header.key, source.into(), frame.signed, frame.tag) {
            return Err(Refused::Signature(source));
        }
        let from = header.sender;
        self.limit.trust(now, source);
        self.peers.heard(now, from, Shown { version: header.reads, key: header.newest_key });
        let read = |body: &[u8]| (format.decode)(from, body).map_err(|error| Refused::Body(source, error));
        let message = match header.parts {
            1 => Some(read(frame.body)?),
            _ => {
                self.parts.add(now, source.path(), &header, frame.body).map(|body| read(&body)).transpose()?
            }
        };
        Ok(Heard { from, message })
    }

    /// What costs little.
    fn check(&self, source: Source, header: &Header) -> Result<&'static Format, Refused> {
        if header.magic != MAGIC || !Parts::fits(header) {
            return Err(Refused::Foreign(source));
        }
        if header.plane != self.plane.id() {
            return Err(Refused::OtherPlane(source));
        }
        if header.sender == self.me {
            return Err(Refused::Own(source));
        }
        let format = self.formats.iter().find(|format| format.version == header.version);
        let unknown = Refused::Version { from: source, version: header.version, reads: self.reads() };
        let format = format.ok_or(unknown)?;
        if !self.seals.knows(header.key) {
            return Err(Refused::Key { from: source, key: header.key });
        }
        Ok(format)
    }

    /// The greatest version that this announcer reads.
    fn reads(&self) -> u8 {
        self.formats.last().map_or(0, |format| format.version)
    }
}
