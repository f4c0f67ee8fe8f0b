//! Waiting for a socket.

use std::io;

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
    time::Timespec,
};
use socket2::Socket;
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::coop::consume_budget,
};

/// Waits until there is something to receive, a message or an error. Nothing is lost if the wait is given up.
pub(crate) async fn readable(socket: &AsyncFd<Socket>) -> io::Result<()> {
    // In a storm there is always something to receive: the other tasks want their turn too.
    consume_budget().await;
    while !is_readable(socket)? {
        socket.ready(Interest::READABLE | Interest::ERROR).await?.clear_ready();
    }
    Ok(())
}

/// Asks the kernel: the runtime's memory of it says nothing of a caller that stopped receiving half-way.
fn is_readable(socket: &AsyncFd<Socket>) -> io::Result<bool> {
    let mut socket = [PollFd::new(socket.get_ref(), PollFlags::IN)];
    Ok(retry_on_intr(|| poll(&mut socket, Some(&Timespec::default())))? > 0)
}
