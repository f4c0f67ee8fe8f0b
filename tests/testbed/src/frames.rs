//! Frames that a test makes itself.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_lab::{Host, Result};
use foghorn_netio::{Netlink, PacketSocket};

use crate::inside::inside;

/// Frames between two pauses, so that the kernel's queues are not all that is tested.
const BURST: usize = 100;

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
    let links = Netlink::open()?.links().await?;
    let link = links.into_iter().find(|link| link.name == "eth0").ok_or("no eth0")?;
    let socket = PacketSocket::open(link.index)?;
    let mut sent = 0;
    for (n, frame) in make(link.mac.ok_or("eth0 has no hardware address")?).iter().enumerate() {
        sent += usize::from(socket.send(frame).is_ok());
        if n % BURST == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(sent)
}
