//! Where questions go out.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use foghorn_portmap::Fault;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, UdpSocket};

use crate::fault::not_bound;

/// Routers pass on a search at most once (UPnP Device Architecture 1.1, section 1.3.2).
const SEARCH_TTL: u32 = 2;

/// An interface, and an address of this node.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    /// None in tests: then routes decide.
    pub(crate) interface: Option<String>,
    pub(crate) source: Ipv4Addr,
}

impl Outlet {
    /// A TCP socket that comes from the source.
    pub(crate) fn tcp(&self) -> Result<TcpSocket, Fault> {
        let socket = self.bound(Type::STREAM, self.source);
        socket
            .map(|socket| TcpSocket::from_std_stream(socket.into()))
            .map_err(|error| not_bound(self.source, &error))
    }

    /// A UDP socket that comes from the source.
    pub(crate) fn udp(&self) -> Result<UdpSocket, Fault> {
        self.datagrams(self.source).map_err(|error| not_bound(self.source, &error))
    }

    /// A UDP socket that comes from whatever address the node has on the interface.
    pub(crate) fn udp_of_node(&self) -> io::Result<UdpSocket> {
        self.datagrams(Ipv4Addr::UNSPECIFIED)
    }

    fn datagrams(&self, source: Ipv4Addr) -> io::Result<UdpSocket> {
        let socket = self.bound(Type::DGRAM, source)?;
        socket.set_multicast_ttl_v4(SEARCH_TTL)?;
        // A socket that is bound to an interface sends its multicasts there.
        if self.interface.is_none() {
            socket.set_multicast_if_v4(&self.source)?;
        }
        UdpSocket::from_std(socket.into())
    }

    fn bound(&self, kind: Type, source: Ipv4Addr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, kind.nonblocking(), None)?;
        socket.bind_device(self.interface.as_deref().map(str::as_bytes))?;
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        Ok(socket)
    }
}
