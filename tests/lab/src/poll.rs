//! Waiting for something to come about.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// Asks `look` again and again until it answers, and gives the answer.
///
/// # Errors
/// [`Error::Timeout`] with the last error of `look`, if any, after `within`; [`Error::Daemon`] at once.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let detail = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            // A process that has ended does not come back by waiting.
            Err(ended @ Error::Daemon { .. }) => return Err(ended),
            Err(error) => format!("; at last: {error}"),
        };
        if start.elapsed() > within {
            return Err(Error::Timeout { what: what.to_owned(), within, detail });
        }
        thread::sleep(Duration::from_millis(50));
    }
}
