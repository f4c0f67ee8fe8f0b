//! The request to end this process.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Takes over SIGTERM and SIGINT; the future completes at the first of them.
///
/// # Errors
/// If the signals cannot be taken over, or outside of a Tokio runtime.
pub fn requested() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        }
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn sigterm_is_a_request_to_end() {
        let requested = super::requested().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        requested.await;
    }
}
