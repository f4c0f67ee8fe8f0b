//! What gateways say unasked.

use std::{
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use foghorn_portmap::{Notice, Protocol};
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};
use tokio::{net::UdpSocket, select, time::sleep};
use tracing::{debug, warn};

use crate::{alive::Alive, natpmp, pcp, ports::Ports, ssdp};

/// All hosts: where NAT-PMP (RFC 6886, section 3.2.1) and PCP (RFC 6887, section 14.1.3) announce.
const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// How long to wait after a socket failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Sockets that hear what gateways say unasked. They are those of the interface as it is when they are opened.
#[derive(Debug)]
pub struct Listener {
    ssdp: Option<UdpSocket>,
    announcements: Option<UdpSocket>,
    ports: Ports,
    alive: Alive,
}

impl Listener {
    /// Listens on this interface. A socket that cannot be had is logged, and the other one used alone. To be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// If neither of the sockets can be had.
    pub fn open(interface: &str) -> io::Result<Self> {
        Self::open_with(Some(interface), Ports::default())
    }

    /// Listens on other ports, and perhaps on the loopback interface without naming it.
    ///
    /// # Errors
    /// As above.
    pub fn open_with(interface: Option<&str>, ports: Ports) -> io::Result<Self> {
        // Searches that others' programs on this node are asked by unicast stay theirs.
        let ssdp = join(interface, ssdp::GROUP, SocketAddrV4::new(ssdp::GROUP, ports.ssdp));
        let announcements = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, ports.announcements);
        let announcements = join(interface, ALL_HOSTS, announcements);
        if let (Err(error), Err(_)) = (&ssdp, &announcements) {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let ssdp = ssdp
            .inspect_err(|error| {
                warn!(port = ports.ssdp, %error, "gateways are not heard when they come and go by SSDP");
            })
            .ok();
        let announcements = announcements
            .inspect_err(|error| {
                warn!(port = ports.announcements, %error, "gateways are not heard when they announce by PCP");
            })
            .ok();
        Ok(Self { ssdp, announcements, ports, alive: Alive::default() })
    }

    /// Waits until somebody says what gateways say, and tells who, and what. Whether that is the gateway is for the caller to know:
    /// everybody on the network can say so. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> (Ipv4Addr, Notice) {
        let (mut by_ssdp, mut announced) = ([0; ssdp::LONGEST], [0; pcp::LONGEST]);
        loop {
            let heard = select! {
                (length, from) = receive(self.ssdp.as_ref(), &mut by_ssdp) => {
                    let said = by_ssdp.get(..length).and_then(ssdp::notify);
                    said.and_then(|said| self.alive.hear(*from.ip(), said)).map(|notice| (from, notice))
                }
                (length, from) = receive(self.announcements.as_ref(), &mut announced) => {
                    let said = announced.get(..length).and_then(|said| epoch(said, from.port(), self.ports));
                    said.map(|notice| (from, notice))
                }
            };
            if let Some((from, notice)) = heard {
                debug!(%from, ?notice, "heard");
                return (*from.ip(), notice);
            }
        }
    }
}

/// PCP is announced from the server's port; NAT-PMP from whichever.
fn epoch(datagram: &[u8], from: u16, ports: Ports) -> Option<Notice> {
    let by_pcp = pcp::announced(datagram).filter(|_| from == ports.server);
    let by_pcp = by_pcp.map(|epoch| Notice::Epoch(Protocol::Pcp, epoch));
    by_pcp.or_else(|| natpmp::announced(datagram).map(|epoch| Notice::Epoch(Protocol::NatPmp, epoch)))
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> (usize, SocketAddrV4) {
    let Some(socket) = socket else { return pending().await };
    loop {
        match socket.recv_from(buffer).await {
            Ok((length, from)) => {
                if let IpAddr::V4(address) = from.ip() {
                    return (length, SocketAddrV4::new(address, from.port()));
                }
            }
            Err(error) => {
                debug!(%error, "nothing could be received");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Others on this node may listen on the same port, if they let others do so too.
fn join(interface: Option<&str>, group: Ipv4Addr, address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind_device(interface.map(str::as_bytes))?;
    socket.bind(&address.into())?;
    let on = match interface {
        Some(name) => InterfaceIndexOrAddress::Index(name_to_index(&socket, name)?),
        None => InterfaceIndexOrAddress::Address(Ipv4Addr::LOCALHOST),
    };
    socket.join_multicast_v4_n(&group, &on)?;
    UdpSocket::from_std(socket.into())
}
