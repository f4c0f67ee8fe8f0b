//! The clock of a program that has none of its own.

use std::time::Duration;

use foghorn_clock::Instant;

/// Reads a clock.
pub type Clock = fn() -> Instant;

/// Reads `CLOCK_BOOTTIME`, which also runs while the computer sleeps.
#[must_use]
pub fn boot_time() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Instant::from_boot(Duration::new(seconds, nanos))
}
