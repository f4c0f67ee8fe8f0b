//! Work in a thread of its own that lives in a host's network namespace, until it is no longer needed.

use std::{
    future::Future,
    thread::{self, JoinHandle},
};

use foghorn_lab::{Host, Result};
use tokio::sync::oneshot;

/// Completes when the task is to end.
pub(crate) type Stop = oneshot::Receiver<()>;

/// A running task; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Task {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Task {
    /// Starts what `work` makes, on a runtime of its own.
    pub(crate) fn start<F: Future<Output = ()>>(
        host: &Host,
        work: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { work(stopped).await });
        };
        Self { stop: Some(stop), thread: Some(host.inside(work).unwrap()) }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // It is gone if it has panicked, which its join says.
        let _gone = self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().expect("the thread ran until it was stopped").unwrap();
        }
    }
}
