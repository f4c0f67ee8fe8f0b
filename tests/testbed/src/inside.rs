//! Asynchronous work with the sockets of a host of the lab.

use std::error::Error;

use foghorn_lab::{Host, Result};
use tokio::runtime;

use crate::cluster::failed;

/// Runs `work` on a host, and waits for its end.
pub(crate) fn inside<T: Send + 'static, F: Future<Output = std::result::Result<T, Box<dyn Error>>>>(
    host: &Host,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    let running = host.inside(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(work()).map_err(|error| error.to_string())
    })?;
    let ended = running.join().map_err(|_| failed(format!("the work on {} panicked", host.name())))??;
    ended.map_err(failed)
}
