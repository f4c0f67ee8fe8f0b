//! The engine on the plane's interface: frames in, and what it wants done.

use std::{collections::BTreeMap, future::pending, mem, net::Ipv4Addr, sync::Arc, time::Duration};

use foghorn_clock::Instant;
use foghorn_dhcp::frame::UdpChecksum;
use foghorn_l2::Gateway;
use foghorn_netio::{Link, PacketSocket, SendError, SocketError, clock};
use tracing::{debug, warn};

use crate::{
    engine::{Conflict, Engine, FrameKind, Input, Output, Stranger},
    metrics::{Metrics, Phase},
    report::Report,
};

/// Frames that waited longer in the socket are not answered: the process was stopped meanwhile.
const STALE: Duration = Duration::from_millis(500);
/// Frames that are taken in one turn, so that a storm does not keep the rest waiting.
const FRAMES: usize = 64;
/// Jumbo frames are not expected: ARP and DHCP fit in the smallest MTU of Ethernet, and longer pings are not answered.
const FRAME_LENGTH: usize = 2048;

/// An engine, and the packet socket on its interface while there is one.
///
/// `permit` says until when this node may announce the claim of that name; it is asked right before each frame.
#[derive(Debug)]
pub struct Port {
    engine: Engine,
    metrics: Metrics,
    link: Option<Link>,
    socket: Option<PacketSocket>,
    gateway: Gateway,
    reports: Vec<Report>,
    conflicts: Vec<Conflict>,
    strangers: Vec<Stranger>,
    /// Claims that were granted and are not announced yet, and since when.
    granted: BTreeMap<Arc<str>, Instant>,
    buffer: Vec<u8>,
}

impl Port {
    /// A port without an interface.
    #[must_use]
    pub fn new(engine: Engine, metrics: Metrics) -> Self {
        Self {
            engine,
            metrics,
            link: None,
            socket: None,
            gateway: Gateway::default(),
            reports: Vec::new(),
            conflicts: Vec::new(),
            strangers: Vec::new(),
            granted: BTreeMap::new(),
            buffer: vec![0; FRAME_LENGTH],
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The interface that it is on.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Tells the engine. What it reported of a claim that is revoked is forgotten with it.
    pub fn tell(&mut self, input: Input<'_>) {
        if let Input::Revoked { claim } = input {
            self.granted.remove(claim);
            self.reports.retain(|report| report.claim != claim);
        }
        self.engine.handle_input(clock::now(), input);
    }

    /// The claim was granted and has an address: how long its first announcement takes is measured.
    pub fn expect_announcement(&mut self, claim: Arc<str>) {
        self.granted.entry(claim).or_insert_with(clock::now);
    }

    /// Lets the engine do what is due, and asks the gateway.
    pub fn turn(&mut self) {
        let now = clock::now();
        self.engine.handle_timeout(now);
        let (Some(socket), Some(link)) = (&self.socket, &self.link) else { return };
        let own = link.addresses.first().map(|(address, _)| *address);
        let question = link.mac.and_then(|mac| self.gateway.question(now, mac, own));
        // It speaks for the node itself, so no permit is asked. One that is lost is put again in a second.
        if let Some(Err(error)) = question.map(|frame| socket.send(&frame)) {
            debug!(%error, "the gateway is not asked");
        }
    }

    /// The address of the gateway to watch.
    pub fn watch_gateway(&mut self, address: Option<Ipv4Addr>) {
        self.gateway.set_address(address);
    }

    /// Whether the gateway answers; not known if it never did.
    #[must_use]
    pub fn gateway_answers(&self) -> Option<bool> {
        self.gateway.answers(clock::now())
    }

    /// How long there is nothing to do, if no frame comes.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        let engine = self.engine.poll_timeout().map(|(at, _)| at);
        let question = self.gateway.next().filter(|_| self.socket.is_some());
        engine.into_iter().chain(question).min().map(|at| at - clock::now())
    }

    /// Goes over to this interface, and leaves the one that it was on.
    ///
    /// # Errors
    /// If no packet socket can be opened there; the port is without an interface then.
    pub fn attach(&mut self, link: &Link) -> Result<(), SocketError> {
        if self.link.as_ref() == Some(link) {
            return Ok(());
        }
        if self.socket.as_ref().is_none_or(|socket| socket.interface() != link.index) {
            self.detach();
            self.socket = Some(PacketSocket::open(link.index)?);
            self.gateway.reset();
        }
        self.tell(Input::Link(Some(Box::new(link.clone()))));
        self.link = Some(link.clone());
        Ok(())
    }

    /// Leaves the interface, in silence.
    pub fn detach(&mut self) {
        if self.link.take().is_some() {
            self.tell(Input::Link(None));
            self.act(|_| Instant::ZERO);
        }
        self.socket = None;
    }

    /// Does all that the engine wants, but for reports, conflicts and strangers, which are kept.
    pub fn act(&mut self, permit: impl Fn(&str) -> Instant) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { kind, claim, frame } => self.send(kind, &claim, &frame, permit(&claim)),
                Output::Join(mac) => self.membership(mac, PacketSocket::join_unicast),
                Output::Leave(mac) => self.membership(mac, PacketSocket::leave_unicast),
                Output::Conflict(conflict) => self.conflicts.push(conflict),
                Output::Stranger(stranger) => self.strangers.push(stranger),
                Output::Report(report) => self.reports.push(*report),
            }
        }
    }

    /// The reports since the last call.
    #[must_use]
    pub fn reports(&mut self) -> Vec<Report> {
        mem::take(&mut self.reports)
    }

    /// The conflicts since the last call.
    #[must_use]
    pub fn conflicts(&mut self) -> Vec<Conflict> {
        mem::take(&mut self.conflicts)
    }

    /// The hosts with a claim's MAC address that were heard since the last call.
    #[must_use]
    pub fn strangers(&mut self) -> Vec<Stranger> {
        mem::take(&mut self.strangers)
    }

    /// Waits for a frame. Pending while there is no interface.
    ///
    /// # Errors
    /// If the socket has failed.
    pub async fn readable(&self) -> Result<(), SocketError> {
        match &self.socket {
            Some(socket) => socket.readable().await,
            None => pending().await,
        }
    }

    /// Takes the frames that are there, and does what follows from each.
    pub fn receive(&mut self, permit: impl Fn(&str) -> Instant) {
        for _ in 0..FRAMES {
            let received = match self.socket.as_ref().map(|socket| socket.recv(&mut self.buffer)) {
                Some(Ok(Some(received))) => received,
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    debug!(%error, "nothing received");
                    return;
                }
            };
            if received.age > STALE {
                self.metrics.dropped("stale");
                continue;
            }
            let Some(bytes) = self.buffer.get(..received.length) else { continue };
            let udp_checksum =
                if received.checksum_trusted { UdpChecksum::Ignore } else { UdpChecksum::Verify };
            let now = clock::now();
            self.gateway.hear(now, bytes);
            self.engine.handle_input(now, Input::Frame { bytes, udp_checksum });
            self.act(&permit);
        }
    }

    fn send(&mut self, kind: FrameKind, claim: &str, frame: &[u8], permit: Instant) {
        let Some(socket) = &self.socket else { return };
        match socket.send_before(frame, permit) {
            Ok(()) => {
                self.metrics.sent(kind);
                if kind == FrameKind::Arp(foghorn_l2::Kind::Gratuitous)
                    && let Some(granted) = self.granted.remove(claim)
                {
                    self.metrics.failed_over(Phase::Announcement, clock::now() - granted);
                }
            }
            Err(SendError::Fenced { .. }) => self.metrics.fenced(),
            Err(error) => debug!(%error, "frame not sent"),
        }
    }

    fn membership(&self, mac: [u8; 6], change: impl Fn(&PacketSocket, [u8; 6]) -> Result<(), SocketError>) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| change(socket, mac)) {
            warn!(%error, "what the interface receives for a claim cannot be changed");
        }
    }
}
