//! One question in a datagram, and its answer.

use std::{net::SocketAddrV4, time::Duration};

use foghorn_portmap::Fault;
use tokio::time::timeout;

use crate::{fault::silent, outlet::Outlet};

/// How long to wait for an answer after each time that the question was sent: less than RFC 6886 (section 3.1) and RFC 6887
/// (section 8.1.1) have it, for the gateway is on the same network and the question is asked again later.
const WAITS: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Longer than any answer.
const ROOM: usize = 1200;

/// Sends the question until `read` finds the answer in a datagram. Others are passed over.
pub(crate) async fn exchange<T>(
    outlet: &Outlet,
    server: SocketAddrV4,
    question: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Fault> {
    let socket = outlet.udp()?;
    socket.connect(server).await.map_err(|error| silent(&error))?;
    let mut buffer = [0; ROOM];
    for wait in WAITS {
        socket.send(question).await.map_err(|error| silent(&error))?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await.map_err(|error| silent(&error))?;
                if let Some(answer) = buffer.get(..length).and_then(&read) {
                    return Ok(answer);
                }
            }
        };
        if let Ok(answer) = timeout(wait, answer).await {
            return answer;
        }
    }
    Err(Fault::Silent(format!("no answer from UDP port {}", server.port())))
}
