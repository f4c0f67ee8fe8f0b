//! What is behind an address: somebody who takes connections.

use std::net::{Ipv4Addr, SocketAddr};

use foghorn_lab::{Host, Result};
use tokio::net::TcpListener;

use crate::background::{Background, Stop, io};

/// Takes TCP connections on a host and ends them at once; it ends when this is dropped.
#[derive(Debug)]
pub struct Backend(#[expect(dead_code, reason = "held for its end")] Background);

impl Backend {
    /// Starts it on all addresses of a host.
    ///
    /// # Errors
    /// If the host's namespace cannot be opened.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let (name, address) = (host.name().to_owned(), SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        Background::start(host, move |stop| serve(name, address, stop)).map(Self)
    }
}

async fn serve(host: String, address: SocketAddr, mut stop: Stop) -> Result<()> {
    let listener =
        TcpListener::bind(address).await.map_err(io(format!("listening on {address} of {host}")))?;
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            // One that has gone already is as good as one that was taken.
            _taken = listener.accept() => {}
        }
    }
}
