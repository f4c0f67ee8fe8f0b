//! Heartbeats as Ethernet frames on the plane's interface, while there is one.

use std::{future::pending, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::{ETHERTYPE, GROUP, PLANE_AT, Plane};
use foghorn_netio::{Group, Link, PacketSocket, SocketError};
use tracing::{debug, warn};

/// Destination, source and EtherType.
const HEADER: usize = 14;
/// Between two attempts to open a socket.
const RETRY: Duration = Duration::from_secs(1);

/// A packet socket on the plane's interface, for as long as there is one.
#[derive(Debug)]
pub(super) struct Wire {
    group: Group,
    link: Option<Link>,
    socket: Option<PacketSocket>,
    tried: Instant,
    frame: Vec<u8>,
}

impl Wire {
    /// That of a plane: what others say on the same network is not received.
    pub(super) const fn of(plane: &Plane) -> Self {
        let group = Group { ethertype: ETHERTYPE, address: GROUP, at: PLANE_AT, octets: plane.octets() };
        Self { group, link: None, socket: None, tried: Instant::ZERO, frame: Vec::new() }
    }

    /// Goes over to this interface, or leaves the one that it was on.
    pub(super) fn set_link(&mut self, now: Instant, link: Option<Link>) {
        let index = link.as_ref().map(|link| link.index);
        if self.socket.as_ref().map(PacketSocket::interface) != index {
            self.socket = None;
        }
        self.link = link;
        self.tried = Instant::ZERO;
        self.open(now);
    }

    /// Opens the socket, if there should be one and is none.
    pub(super) fn open(&mut self, now: Instant) {
        let Some(link) = self.link.as_ref().filter(|_| self.socket.is_none()) else { return };
        if now - self.tried < RETRY {
            return;
        }
        self.tried = now;
        match PacketSocket::open_to_group(link.index, &self.group) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => warn!(%error, "no heartbeats on the plane's network, trying again"),
        }
    }

    /// Waits until there is something to receive. Pending while there is no interface.
    pub(super) async fn readable(&self) -> Result<(), SocketError> {
        match &self.socket {
            Some(socket) => socket.readable().await,
            None => pending().await,
        }
    }

    /// Takes the next frame, if there is one: who sent it, and what is in it.
    pub(super) fn recv<'a>(&mut self, buffer: &'a mut [u8]) -> Option<([u8; 6], &'a [u8])> {
        let received = match self.socket.as_ref()?.recv(buffer) {
            Ok(received) => received?,
            Err(error) => {
                self.failed(&error);
                return None;
            }
        };
        let frame = buffer.get(..received.length)?;
        Some((*frame.get(6..)?.first_chunk()?, frame.get(HEADER..)?))
    }

    /// The hardware address that frames are sent from, while they are.
    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        self.link.as_ref().filter(|_| self.socket.is_some())?.mac
    }

    /// Sends to a hardware address. Nothing if there is no interface; else whether the kernel took it.
    pub(super) fn send(&mut self, destination: [u8; 6], payload: &[u8]) -> Option<bool> {
        let source = self.mac()?;
        let socket = self.socket.as_ref()?;
        self.frame.clear();
        self.frame.extend(destination);
        self.frame.extend(source);
        self.frame.extend(ETHERTYPE.to_be_bytes());
        self.frame.extend(payload);
        let sent = socket.send(&self.frame);
        if let Err(error) = &sent {
            self.failed(error);
        }
        Some(sent.is_ok())
    }

    /// A socket whose interface is gone receives nothing ever again.
    fn failed(&mut self, error: &SocketError) {
        debug!(%error, "a heartbeat on the plane's network failed");
        if matches!(error, SocketError::Gone { .. }) {
            self.socket = None;
        }
    }
}
