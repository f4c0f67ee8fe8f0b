//! Addresses that are also put on the interface (`hostAddress: Fenced`): the kernel takes each away by itself, some
//! seconds after this process has stopped to keep it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_crds::HostAddressSpec;
use foghorn_netio::{Netlink, clock};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::report::Permit;

/// Between two times that an address is kept: two may fail before the kernel takes it away.
const KEEP: Duration = Duration::from_secs(4);
/// The task looks so often whether this node may still announce what it keeps.
const TURN: Duration = Duration::from_millis(500);

/// What is to be on the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The index of the plane's interface; none while there is none, and nothing is done then.
    pub interface: Option<u32>,
    /// The addresses that this node announces, with the names of their claims.
    pub addresses: BTreeMap<Ipv4Addr, Arc<str>>,
    /// All addresses of the plane's claims, whoever announces them: what of them is there and is not to be is a
    /// leftover.
    pub of_plane: BTreeSet<Ipv4Addr>,
    /// The most addresses to keep; the rest is announced only.
    pub limit: usize,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep(Ipv4Addr),
    Drop(Ipv4Addr),
}

/// What is on the interface, as far as this process has put it there.
#[derive(Debug, Default)]
struct Keeper(BTreeMap<Ipv4Addr, Instant>);

impl Keeper {
    /// What is to be done at `now`. `may` says whether a claim may be announced.
    fn steps(&mut self, now: Instant, wanted: &Wanted, may: impl Fn(&str) -> bool) -> Vec<Step> {
        let limited = wanted.addresses.iter().take(wanted.limit);
        let allowed: BTreeSet<_> =
            limited.filter(|(_, claim)| may(claim)).map(|(address, _)| *address).collect();
        let dropped: Vec<_> = self.0.keys().filter(|address| !allowed.contains(address)).copied().collect();
        self.0.retain(|address, _| allowed.contains(address));
        let due = |address: &Ipv4Addr| self.0.get(address).is_none_or(|kept| now - *kept >= KEEP);
        let kept: Vec<_> = allowed.into_iter().filter(due).collect();
        self.0.extend(kept.iter().map(|address| (*address, now)));
        dropped.into_iter().map(Step::Drop).chain(kept.into_iter().map(Step::Keep)).collect()
    }
}

/// How many of the addresses that a node announces are on its interface, in their order.
#[must_use]
pub fn limit(spec: &HostAddressSpec) -> usize {
    usize::try_from(spec.max_per_node).unwrap_or(usize::MAX)
}

/// Keeps the wanted addresses on the interface for as long as they may be announced; without an end.
pub async fn keep(netlink: Netlink, mut wanted: watch::Receiver<Wanted>, permit: Permit) {
    let mut keeper = Keeper::default();
    let mut interface = None;
    loop {
        let now_wanted = wanted.borrow_and_update().clone();
        if interface != now_wanted.interface {
            interface = now_wanted.interface;
            keeper = Keeper::default();
            clean(&netlink, &now_wanted).await;
        }
        if let Some(interface) = interface {
            let may = |claim: &str| clock::now() < permit(claim);
            for step in keeper.steps(clock::now(), &now_wanted, may) {
                carry_out(&netlink, interface, step).await;
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = sleep(TURN) => {}
        }
    }
}

/// Takes away what an earlier process has left of this plane.
async fn clean(netlink: &Netlink, wanted: &Wanted) {
    let Some(interface) = wanted.interface else { return };
    match netlink.kept_addresses().await {
        Ok(kept) => {
            let left = |address: &Ipv4Addr| {
                wanted.of_plane.contains(address) && !wanted.addresses.contains_key(address)
            };
            for (_, address) in kept.into_iter().filter(|(on, address)| *on == interface && left(address)) {
                info!(%address, "an address that an earlier announcer has left is taken away");
                carry_out(netlink, interface, Step::Drop(address)).await;
            }
        }
        Err(error) => {
            warn!(%error, "it is not known what an earlier announcer has left; the kernel takes it away");
        }
    }
}

async fn carry_out(netlink: &Netlink, interface: u32, step: Step) {
    match step {
        Step::Keep(address) => {
            if let Err(error) = netlink.keep_address(interface, address).await {
                warn!(%address, %error, "the address cannot be put on the interface; does the announcer have NET_ADMIN?");
            }
        }
        Step::Drop(address) => {
            if let Err(error) = netlink.drop_address(interface, address).await {
                warn!(%address, %error, "the address was not taken off the interface; the kernel does it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_at_once_and_each_four_seconds() {
        let mut keeper = Keeper::default();
        let wanted = wanted(1);
        assert_eq!(keeper.steps(at(0), &wanted, |_| true), [Step::Keep(address(0))]);
        assert_eq!(keeper.steps(at(3_999), &wanted, |_| true), []);
        assert_eq!(keeper.steps(at(4_000), &wanted, |_| true), [Step::Keep(address(0))]);
    }

    #[test]
    fn what_may_not_be_announced_any_more_is_dropped_at_once() {
        let mut keeper = Keeper::default();
        keeper.steps(at(0), &wanted(2), |_| true);
        assert_eq!(keeper.steps(at(100), &wanted(2), |claim| claim != "c0"), [Step::Drop(address(0))]);
        assert_eq!(keeper.steps(at(200), &wanted(0), |_| true), [Step::Drop(address(1))]);
    }

    #[test]
    fn no_more_than_the_limit_is_put_on_an_interface() {
        let mut keeper = Keeper::default();
        let wanted = Wanted { limit: 2, ..wanted(3) };
        assert_eq!(keeper.steps(at(0), &wanted, |_| true), [Step::Keep(address(0)), Step::Keep(address(1))]);
    }

    fn wanted(count: u8) -> Wanted {
        let addresses = (0..count).map(|number| (address(number), format!("c{number}").into())).collect();
        Wanted { interface: Some(3), addresses, of_plane: BTreeSet::new(), limit: 50 }
    }

    fn address(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, number)
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(100) + Duration::from_millis(milliseconds))
    }
}
