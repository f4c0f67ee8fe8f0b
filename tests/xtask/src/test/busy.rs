//! How busy the machine's cores are.

use std::fs;

/// The processor time of all cores since the machine started, in the kernel's ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Busy {
    busy: u64,
    all: u64,
}

impl Busy {
    /// Until now; nothing where the kernel does not tell.
    pub(crate) fn now() -> Self {
        parse(&fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or(Self { busy: 0, all: 0 })
    }

    /// The share of all cores' time since then in which they were busy, in per cent.
    pub(crate) fn percent_since(self, then: Self) -> u64 {
        let (busy, all) = (self.busy.saturating_sub(then.busy), self.all.saturating_sub(then.all));
        (100 * busy).checked_div(all).unwrap_or_default()
    }
}

/// Reads the line `cpu  user nice system idle iowait irq softirq steal …` of `/proc/stat` (proc(5)).
fn parse(stat: &str) -> Option<Busy> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = line.split_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, irq, softirq, steal] = times.as_slice() else { return None };
    let busy = user + nice + system + irq + softirq + steal;
    Some(Busy { busy, all: busy + idle + iowait })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_not_busy() {
        let then = parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let now = parse("cpu  160 0 120 800 120 0 0 0 0 0\n").unwrap();
        assert_eq!(now.percent_since(then), 40);
        assert_eq!(then.percent_since(then), 0);
        assert_eq!(parse("intr 1 2 3"), None);
    }
}
