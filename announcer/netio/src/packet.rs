//! A packet socket on one interface: whole Ethernet frames, ARP and DHCP only or those of one EtherType.

use std::{io, time::Duration};

use foghorn_clock::Instant;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{
    clock, filter, readiness,
    sys::{self, Membership},
};

/// Some hundreds of frames at least; the kernel gives no more than `net.core.rmem_max` without CAP_NET_ADMIN.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A frame that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of the frame in the buffer.
    pub length: usize,
    /// The kernel has checked the UDP checksum, or knows that the sender, on the same computer, left it out.
    pub checksum_trusted: bool,
    /// Time since the kernel received the frame. After a stall old frames come first; they are not to be answered.
    /// Zero for frames of the first moments of a socket, when the kernel does not yet note the time.
    pub age: Duration,
    /// To whom the frame was sent.
    pub packet_type: PacketType,
}

/// To whom a frame was sent, as the interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    /// To the interface's own hardware address.
    Host,
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
    /// To another hardware address: one that was joined, or anybody's if the interface is promiscuous.
    OtherHost,
}

/// Why a packet socket does not work.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// `EPERM`: the process has no `CAP_NET_RAW`.
    #[error("a packet socket on interface {interface} needs the capability NET_RAW")]
    NotPermitted {
        /// The interface's index.
        interface: u32,
    },
    /// `ENETDOWN`: the interface was set down. The socket works again when it is set up.
    #[error("interface {interface} is down")]
    Down {
        /// The interface's index.
        interface: u32,
    },
    /// `ENXIO`, `ENODEV`: there is no such interface any longer. A new socket is needed.
    #[error("interface {interface} is gone")]
    Gone {
        /// The interface's index.
        interface: u32,
    },
    /// `ENOBUFS`, `EAGAIN`: the interface's queue is full and the frame is lost.
    #[error("the queue of interface {interface} is full")]
    Full {
        /// The interface's index.
        interface: u32,
    },
    /// Anything else.
    #[error("the packet socket on interface {interface} failed: {source}")]
    Failed {
        /// The interface's index.
        interface: u32,
        /// The cause.
        source: io::Error,
    },
}

/// Why a frame was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The permit had run out.
    #[error("the permit to send ran out {late:?} ago")]
    Fenced {
        /// How long ago.
        late: Duration,
    },
    /// The socket does not work.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// What hosts on one network say to each other: frames of one EtherType, to a group address or to one of the hosts, that have
/// certain octets in them. The kernel drops all others before anybody is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// The EtherType.
    pub ethertype: u16,
    /// The group's address.
    pub address: [u8; 6],
    /// Where in a frame's payload the octets are.
    pub at: u16,
    /// The octets.
    pub octets: [u8; 8],
}

/// A packet socket on one interface.
///
/// It gives ARP, UDP to port 68 and pings (see [`filter`]), or what it was opened for: frames as they were on the wire
/// before any other part of the kernel saw them, those to others included; never what this computer has sent itself.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<Socket>,
    interface: u32,
}

impl PacketSocket {
    /// Opens a socket on the interface with this index. To be called in a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError::NotPermitted`] without `CAP_NET_RAW`, [`SocketError::Gone`] without such an interface. That the
    /// interface is down is what the first [`PacketSocket::recv`] says.
    pub fn open(interface: u32) -> Result<Self, SocketError> {
        Self::open_with(interface, &filter::PROGRAM.map(SockFilter::from))
    }

    /// Opens a socket that gives the frames of a group.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn open_to_group(interface: u32, group: &Group) -> Result<Self, SocketError> {
        let Group { ethertype, address, at, octets } = *group;
        let socket =
            Self::open_with(interface, &filter::ethertype(ethertype, at, octets).map(SockFilter::from))?;
        socket.membership(Membership::Add, address)?;
        Ok(socket)
    }

    /// Opens a socket that gives every frame, for what stands in the wire and hands on.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn open_to_all(interface: u32) -> Result<Self, SocketError> {
        Self::open_with(interface, &[filter::ALL].map(SockFilter::from))
    }

    fn open_with(interface: u32, filter: &[SockFilter]) -> Result<Self, SocketError> {
        let open = || {
            // Without a protocol the socket receives nothing until it is bound, and then has its filter.
            let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking(), None)?;
            socket.attach_filter(filter)?;
            sys::switch_on(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING)?;
            sys::switch_on(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA)?;
            sys::switch_on(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            sys::bind_to_all_frames(&socket, interface)?;
            sys::register(socket)
        };
        match open() {
            Ok(socket) => Ok(Self { socket, interface }),
            Err(source) => Err(SocketError::of(interface, source)),
        }
    }

    /// The index of the interface.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        self.interface
    }

    /// Waits until there is something to receive, a frame or an error. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn readable(&self) -> Result<(), SocketError> {
        let ready = readiness::readable(&self.socket).await;
        ready.map_err(|source| SocketError::of(self.interface, source))
    }

    /// Takes the next frame, if there is one; a frame longer than the buffer is passed over.
    ///
    /// # Errors
    /// [`SocketError::Down`] once when the interface was set down or has gone.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<Option<Received>, SocketError> {
        loop {
            let message = match sys::receive(self.socket.get_ref(), buffer) {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(SocketError::of(self.interface, error)),
            };
            if let Some(packet_type) = PacketType::of(message.packet_type)
                && !message.truncated
            {
                return Ok(Some(Received {
                    length: message.length,
                    checksum_trusted: message.status & CHECKSUM_TRUSTED != 0,
                    age: message.stamp.map(clock::age).unwrap_or_default(),
                    packet_type,
                }));
            }
        }
    }

    /// Sends an Ethernet frame.
    ///
    /// # Errors
    /// If the interface is down, gone or busy. The frame is then lost; what matters is sent again by its protocol.
    pub fn send(&self, frame: &[u8]) -> Result<(), SocketError> {
        match self.socket.get_ref().send(frame) {
            Ok(_) => Ok(()),
            Err(source) => Err(SocketError::of(self.interface, source)),
        }
    }

    /// Sends an Ethernet frame if the clock, read right before, stands before `permit`.
    ///
    /// # Errors
    /// [`SendError::Fenced`] if the permit has run out, otherwise as [`PacketSocket::send`].
    pub fn send_before(&self, frame: &[u8], permit: Instant) -> Result<(), SendError> {
        let now = clock::now();
        if now >= permit {
            return Err(SendError::Fenced { late: now - permit });
        }
        Ok(self.send(frame)?)
    }

    /// Receives frames to `mac` too. Each call needs its own [`PacketSocket::leave_unicast`]; the end of the socket
    /// ends all.
    ///
    /// # Errors
    /// If the interface is gone, or has no room for a further address.
    pub fn join_unicast(&self, mac: [u8; 6]) -> Result<(), SocketError> {
        self.membership(Membership::Add, mac)
    }

    /// Takes a [`PacketSocket::join_unicast`] back.
    ///
    /// # Errors
    /// If there was none.
    pub fn leave_unicast(&self, mac: [u8; 6]) -> Result<(), SocketError> {
        self.membership(Membership::Drop, mac)
    }

    fn membership(&self, membership: Membership, mac: [u8; 6]) -> Result<(), SocketError> {
        sys::membership(self.socket.get_ref(), membership, self.interface, mac)
            .map_err(|source| SocketError::of(self.interface, source))
    }
}

const CHECKSUM_TRUSTED: u32 = libc::TP_STATUS_CSUMNOTREADY | libc::TP_STATUS_CSUM_VALID;

impl PacketType {
    fn of(number: u8) -> Option<Self> {
        match number {
            libc::PACKET_HOST => Some(Self::Host),
            libc::PACKET_BROADCAST => Some(Self::Broadcast),
            libc::PACKET_MULTICAST => Some(Self::Multicast),
            libc::PACKET_OTHERHOST => Some(Self::OtherHost),
            _ => None,
        }
    }
}

impl SocketError {
    fn of(interface: u32, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::NotPermitted { interface },
            Some(libc::ENETDOWN) => Self::Down { interface },
            Some(libc::ENXIO | libc::ENODEV) => Self::Gone { interface },
            Some(libc::ENOBUFS | libc::EAGAIN) => Self::Full { interface },
            _ => Self::Failed { interface, source },
        }
    }
}
