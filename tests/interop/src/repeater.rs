//! A box in the cable between a host and the switch, which does to frames what it likes.

use foghorn_lab::Host;
use foghorn_netio::{Netlink, PacketSocket};

use crate::task::{Stop, Task};

/// Where a frame is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From the host to the switch.
    Network,
    /// From the switch to the host.
    Host,
}

/// What becomes of a frame: the frames that go on in its place.
pub trait Rule: FnMut(Toward, &[u8]) -> Vec<Vec<u8>> + Send + 'static {}

impl<F: FnMut(Toward, &[u8]) -> Vec<Vec<u8>> + Send + 'static> Rule for F {}

/// A repeater; it ends when it is dropped.
#[derive(Debug)]
pub struct Repeater {
    host: Host,
    _task: Task,
}

/// The interfaces of its host.
pub(crate) const PORTS: [&str; 2] = ["inside", "outside"];

impl Repeater {
    pub(crate) fn start(host: &Host, rule: impl Rule) -> Self {
        Self { host: host.clone(), _task: Task::start(host, |stop| repeat(rule, stop)) }
    }

    /// The host loses its carrier.
    pub fn unplug(&self) {
        self.host.ip("link set inside down\n").unwrap();
    }

    /// The host has a carrier again.
    pub fn plug(&self) {
        self.host.ip("link set inside up\n").unwrap();
    }
}

async fn repeat(mut rule: impl Rule, mut stop: Stop) {
    let links = Netlink::open().unwrap().links().await.unwrap();
    let open = |name| PacketSocket::open_to_all(links.iter().find(|link| link.name == name).unwrap().index);
    let [inside, outside] = PORTS.map(|name| open(name).unwrap());
    let mut buffer = vec![0; 2048];
    loop {
        let (toward, from, to) = tokio::select! {
            _ = &mut stop => return,
            ready = inside.readable() => {
                ready.unwrap();
                (Toward::Network, &inside, &outside)
            }
            ready = outside.readable() => {
                ready.unwrap();
                (Toward::Host, &outside, &inside)
            }
        };
        while let Ok(Some(received)) = from.recv(&mut buffer) {
            let mut frame = buffer[..received.length].to_vec();
            leave_checksum_out(&mut frame);
            for frame in rule(toward, &frame) {
                // One that does not get through is lost, as on any cable.
                let _lost = to.send(&frame);
            }
        }
    }
}

/// A sender on the same computer leaves the UDP checksum to a network card; the repeater is none. Zero is no checksum.
fn leave_checksum_out(frame: &mut [u8]) {
    if let Some(checksum) = udp(frame).and_then(|udp| frame.get_mut(udp + 6..udp + 8)) {
        checksum.fill(0);
    }
}

/// Where the UDP header begins.
fn udp(frame: &[u8]) -> Option<usize> {
    let header_length = usize::from(frame.get(14)? & 0xf) * 4;
    (frame.get(12..14)? == [8, 0] && *frame.get(23)? == 17).then_some(14 + header_length)
}

/// The BOOTP message in a frame of DHCP.
#[must_use]
pub fn dhcp(frame: &mut [u8]) -> Option<&mut [u8]> {
    let udp = udp(frame)?;
    let ports = [67, 68].map(|port: u16| port.to_be_bytes());
    let is_dhcp = ports.iter().any(|port| frame.get(udp + 2..udp + 4) == Some(port));
    is_dhcp.then(|| frame.get_mut(udp + 8..)).flatten().filter(|message| message.len() > 240)
}

/// The type of a BOOTP message, if DHCP knows one: 1 is DISCOVER.
#[must_use]
pub fn message_type(message: &[u8]) -> Option<u8> {
    let mut options = message.get(240..)?;
    loop {
        match options {
            [53, 1, kind, ..] => return Some(*kind),
            [0, rest @ ..] => options = rest,
            [255, ..] => return None,
            [_, length, rest @ ..] => options = rest.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}
