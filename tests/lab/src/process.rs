//! What a process takes of the machine, as /proc tells.

use std::{path::Path, time::Duration};

use crate::{
    command::read,
    error::{Error, Result},
};

/// The resident memory of a process in octets.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: i32) -> Result<u64> {
    read_from(&format!("/proc/{pid}/status"), |status| kilobytes_in(status, "VmRSS:"))
}

/// The memory of a process in bytes that is not the content of files: what it allocates, without its code.
///
/// # Errors
/// If there is no such process.
pub fn anonymous(pid: i32) -> Result<u64> {
    read_from(&format!("/proc/{pid}/status"), |status| kilobytes_in(status, "RssAnon:"))
}

/// The processor time that a process has taken so far, in all its threads; exact to a hundredth of a second.
///
/// # Errors
/// If there is no such process.
pub fn cpu_time(pid: i32) -> Result<Duration> {
    let ticks = read_from(&format!("/proc/{pid}/stat"), ticks_in)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

fn read_from(file: &str, find: impl FnOnce(&str) -> Option<u64>) -> Result<u64> {
    let text = read(Path::new(file))?;
    find(&text).ok_or_else(|| Error::Malformed { what: file.to_owned(), why: text })
}

fn kilobytes_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

/// User and system time. The second field, the program's name in parentheses, may have spaces and parentheses of its own.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes() {
        let status =
            "Name:\tweb\nVmHWM:\t   13000 kB\nVmRSS:\t   12345 kB\nRssAnon:\t    3836 kB\nThreads:\t1\n";
        assert_eq!(kilobytes_in(status, "VmRSS:"), Some(12_641_280));
        assert_eq!(kilobytes_in(status, "RssAnon:"), Some(3_928_064));
        assert_eq!(kilobytes_in("Name:\tkthreadd\n", "VmRSS:"), None);
    }

    #[test]
    fn processor_time_is_that_of_user_and_system_whatever_the_name_of_the_program() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 321 45 9 9 20 0 1 0 2 3 4";
        assert_eq!(ticks_in(stat), Some(366));
        assert_eq!(ticks_in("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own).unwrap() > 0);
        assert!(cpu_time(own).unwrap() < Duration::from_secs(3600));
    }
}
