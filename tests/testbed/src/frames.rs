//! Frames that a test makes itself.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use foghorn_lab::{Host, Result};
use foghorn_netio::{Netlink, PacketSocket, SocketError};

use crate::inside::inside;

/// Frames between two pauses, so that the kernel's queues are not all that is tested.
const BURST: usize = 100;
/// Longest frame, in bytes.
const LONGEST: usize = 2048;

/// Says from `eth0` of a host to all that it has that address: a gratuitous ARP reply. Answers with how many frames that
/// were.
///
/// # Errors
/// If the frame cannot be sent.
pub fn claim(host: &Host, address: Ipv4Addr) -> Result<usize> {
    send(host, move |mac| {
        let mut frame = vec![0xff; 6];
        frame.extend(mac);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        frame.extend(mac);
        frame.extend(address.octets());
        frame.extend([0xff; 6]);
        frame.extend(address.octets());
        vec![frame]
    })
}

/// A frame, and how long after the first one it came.
pub type Recorded = (Duration, Vec<u8>);

/// Records the frames of an EtherType that reach `eth0` of a host.
///
/// # Errors
/// If nothing can be received there.
pub fn record(host: &Host, ethertype: u16, lasts: Duration) -> Result<Vec<Recorded>> {
    inside(host, async move || {
        let (socket, _) = eth0(PacketSocket::open_to_all).await?;
        let begun = Instant::now();
        let (mut recorded, mut buffer) = (Vec::new(), [0; LONGEST]);
        while let Some(left) = lasts.checked_sub(begun.elapsed()) {
            if tokio::time::timeout(left, socket.readable()).await.is_err() {
                break;
            }
            while let Some(received) = socket.recv(&mut buffer)? {
                let frame = buffer.get(..received.length).unwrap_or_default();
                if frame.get(12..14) == Some(&ethertype.to_be_bytes()) {
                    recorded.push((begun.elapsed(), frame.to_vec()));
                }
            }
        }
        Ok(recorded)
    })
}

/// Sends what was recorded once more from `eth0` of a host, byte for byte and with the same pauses. Answers with how many
/// frames were sent.
///
/// # Errors
/// If nothing can be sent there.
pub fn replay(host: &Host, recorded: Vec<Recorded>) -> Result<usize> {
    inside(host, async move || {
        let (socket, _) = eth0(PacketSocket::open).await?;
        let begun = Instant::now();
        let mut sent = 0;
        for (after, frame) in recorded {
            tokio::time::sleep(after.saturating_sub(begun.elapsed())).await;
            sent += usize::from(socket.send(&frame).is_ok());
        }
        Ok(sent)
    })
}

/// Sends from `eth0` of a host the frames that `make` gives for its hardware address. Answers with how many were sent.
pub(crate) fn send(
    host: &Host,
    make: impl FnOnce([u8; 6]) -> Vec<Vec<u8>> + Send + 'static,
) -> Result<usize> {
    inside(host, move || send_here(make))
}

async fn send_here(
    make: impl FnOnce([u8; 6]) -> Vec<Vec<u8>>,
) -> std::result::Result<usize, Box<dyn std::error::Error>> {
    let (socket, mac) = eth0(PacketSocket::open).await?;
    let mut sent = 0;
    for (n, frame) in make(mac.ok_or("eth0 has no MAC address")?).iter().enumerate() {
        sent += usize::from(socket.send(frame).is_ok());
        if n % BURST == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(sent)
}

/// A socket on `eth0`, and the MAC address there.
async fn eth0(
    open: impl FnOnce(u32) -> std::result::Result<PacketSocket, SocketError>,
) -> std::result::Result<(PacketSocket, Option<[u8; 6]>), Box<dyn std::error::Error>> {
    let links = Netlink::open()?.links().await?;
    let link = links.into_iter().find(|link| link.name == "eth0").ok_or("no eth0")?;
    Ok((open(link.index)?, link.mac))
}
