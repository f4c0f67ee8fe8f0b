//! A UDP socket on all addresses of the node.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{RecvFlags, recvfrom};
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{readiness, sys};

/// Why a UDP socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DatagramError {
    /// `EADDRINUSE`: another program, or another announcer, has the port.
    #[error("UDP port {port} of this node is in use")]
    InUse {
        /// The port.
        port: u16,
    },
    /// Anything else.
    #[error("UDP port {port} cannot be opened: {source}")]
    Failed {
        /// The port.
        port: u16,
        /// The cause.
        source: io::Error,
    },
}

/// A UDP socket on one port of all of the node's IPv4 and IPv6 addresses.
///
/// Other than tokio's it asks the kernel each time, and not the runtime's memory of it: what has arrived while the
/// process was stopped is received by the next call.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: AsyncFd<Socket>,
    /// Whether addresses of IPv4 are written as ones of IPv6.
    mapped: bool,
}

/// As that of the packet sockets.
const RECEIVE_BUFFER: usize = 1 << 20;

impl DatagramSocket {
    /// Opens a socket on this port; of IPv4 alone if the kernel has no IPv6. To be called in a tokio runtime.
    ///
    /// # Errors
    /// If the port is in use.
    pub fn bind(port: u16) -> Result<Self, DatagramError> {
        let both = Self::open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into());
        let opened = match both {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                Self::open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
            }
            other => other,
        };
        opened.map_err(|source| match source.raw_os_error() {
            Some(libc::EADDRINUSE) => DatagramError::InUse { port },
            _ => DatagramError::Failed { port, source },
        })
    }

    fn open(domain: Domain, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(domain, Type::DGRAM.nonblocking(), None)?;
        let mapped = domain == Domain::IPV6;
        if mapped {
            socket.set_only_v6(false)?;
        }
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&address.into())?;
        Ok(Self { socket: sys::register(socket)?, mapped })
    }

    /// Waits until there is something to receive, a datagram or an error. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// If the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        readiness::readable(&self.socket).await
    }

    /// Takes the next datagram, if there is one: its octets in the buffer, and who sent it. Of one that is longer than
    /// the buffer the rest is lost.
    ///
    /// # Errors
    /// What the network said of a datagram that was sent before.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let (length, _, from) = match recvfrom(self.socket.get_ref(), buffer, RecvFlags::DONTWAIT) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some((length, SocketAddr::new(from.ip().to_canonical(), from.port()))))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// If there is no way to that address, or no room for the datagram now. It is then lost.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = match to.ip() {
            IpAddr::V4(address) if self.mapped => (address.to_ipv6_mapped(), to.port()).into(),
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        };
        self.socket.get_ref().send_to(datagram, &to.into()).map(|_| ())
    }
}
