//! Work in a thread of its own that lives in a host's network namespace, until it is no longer needed.

use std::{future::Future, thread::JoinHandle};

use foghorn_lab::{Error, Host, Result};
use rustix::process::setpriority_process;
use tokio::{runtime, sync::oneshot};

/// Completes when the work is to end.
pub(crate) type Stop = oneshot::Receiver<()>;

/// What measures is not to wait for what is measured.
const FIRST: i32 = -20;

/// Work that goes on until this is finished or dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Background {
    /// Starts what `work` makes, on a runtime of its own.
    pub(crate) fn start<F: Future<Output = Result<()>>>(
        host: &Host,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = host.inside(move || {
            setpriority_process(None, FIRST).map_err(|error| io("raising a priority")(error.into()))?;
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            // What work makes may need the runtime already.
            runtime.map_err(io("starting a runtime"))?.block_on(async { work(stopped).await })
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // It may have ended by an error.
        let _gone = self.stop.take().map(|stop| stop.send(()));
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(Error::Config("a thread on a host panicked".to_owned())))?
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Whoever drops it has an error already, or no use for one.
        let _ended = self.end();
    }
}

/// For `map_err`.
pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let doing = doing.into();
    move |source| Error::Io { doing, source }
}
