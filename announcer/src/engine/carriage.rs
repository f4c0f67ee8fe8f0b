//! Whether the plane's network carries frames from MAC addresses other than the interface's.

use std::{collections::BTreeSet, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{IdentityInUse, IdentityMode};
use foghorn_dhcp::Mode;
use foghorn_netio::Link;
use tracing::{info, warn};

/// A switch that shuts its port on a foreign MAC address does so within this time.
const REACTION: Duration = Duration::from_secs(5);
/// Kinds of interface that send and receive with one MAC address only.
const ONE_ADDRESS: [&str; 4] = ["macvlan", "macvtap", "ipvlan", "wlan"];

/// What was found out on one interface. It holds as long as the announcer runs; a new one asks the claims' statuses.
#[derive(Debug, Default)]
pub(super) struct Carriage {
    /// The MAC address of the interface that this is about.
    interface: Option<[u8; 6]>,
    found: Option<Mode>,
    /// Claims whose own MAC address a server has answered to here.
    passed: BTreeSet<String>,
    /// The port was shut on a MAC address: no further one is shown to it.
    shut: bool,
}

impl Carriage {
    /// The interface that frames go by from now on.
    pub(super) fn enter(&mut self, link: &Link) {
        if self.interface != link.mac {
            *self = Self { interface: link.mac, ..Self::default() };
        }
    }

    /// How a claim begins, and whether it may find out otherwise. `recorded` is what the claim's last holder used.
    pub(super) fn begin(
        &self,
        identity: IdentityMode,
        link: &Link,
        claim: &str,
        recorded: Option<IdentityInUse>,
    ) -> (Mode, bool) {
        match identity {
            IdentityMode::VirtualMac => (Mode::VirtualMac, false),
            IdentityMode::VirtualChaddr => (Mode::VirtualChaddr, false),
            IdentityMode::NodeMac => (Mode::NodeMac, false),
            IdentityMode::Auto if has_one_address(link) || (self.shut && !self.has_passed(claim)) => {
                (Mode::VirtualChaddr, false)
            }
            IdentityMode::Auto => match (self.found, recorded) {
                // A port may carry some MAC addresses and no further one: each claim finds out for itself.
                (Some(Mode::VirtualMac), _) => (Mode::VirtualMac, true),
                (Some(found), _) => (found, false),
                (None, Some(IdentityInUse::VirtualChaddr)) => (Mode::VirtualChaddr, true),
                (None, Some(IdentityInUse::VirtualMac | IdentityInUse::NodeMac) | None) => {
                    (Mode::VirtualMac, true)
                }
            },
        }
    }

    /// A server has answered to a claim that finds out by itself.
    pub(super) fn heard(&mut self, claim: &str, mode: Mode) {
        if mode == Mode::VirtualMac && !self.has_passed(claim) {
            self.passed.insert(claim.to_owned());
        }
        // One answer to a foreign MAC address proves more than any silence.
        if self.found.is_none() || (mode == Mode::VirtualMac && self.found != Some(mode)) {
            info!(?mode, "the network's way with foreign MAC addresses is found");
            self.found = Some(mode);
        }
    }

    /// Whether a server has answered to the claim's own MAC address here.
    pub(super) fn has_passed(&self, claim: &str) -> bool {
        self.passed.contains(claim)
    }

    /// Whether a claim that uses `mode` does so although the port carries the MAC addresses of others.
    pub(super) fn is_limited(&self, mode: Option<Mode>) -> bool {
        mode == Some(Mode::VirtualChaddr) && self.found == Some(Mode::VirtualMac)
    }

    /// The claim is no more.
    pub(super) fn forget(&mut self, claim: &str) {
        self.passed.remove(claim);
    }

    /// The link is lost. Right after the first frame from a MAC address that means a switch which shuts its port on it, as on
    /// any foreign one or on one too many; none that has not passed before is shown to it again.
    pub(super) fn lost_link(&mut self, now: Instant, tried: Option<Instant>) {
        if !self.shut && tried.is_some_and(|tried| now - tried < REACTION) {
            warn!("the link was lost after the first frame from a MAC address; no further address is used");
            self.shut = true;
        }
    }
}

fn has_one_address(link: &Link) -> bool {
    link.kind.as_deref().is_some_and(|kind| ONE_ADDRESS.contains(&kind))
}

/// The word for a mode in the API.
pub(super) const fn in_use(mode: Mode) -> IdentityInUse {
    match mode {
        Mode::VirtualMac => IdentityInUse::VirtualMac,
        Mode::VirtualChaddr => IdentityInUse::VirtualChaddr,
        Mode::NodeMac => IdentityInUse::NodeMac,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_identity_is_never_found_out() {
        let carriage = Carriage::default();
        let recorded = Some(IdentityInUse::VirtualChaddr);
        let begin = |identity| carriage.begin(identity, &link("veth"), "web", recorded);
        assert_eq!(begin(IdentityMode::VirtualMac), (Mode::VirtualMac, false));
        assert_eq!(begin(IdentityMode::VirtualChaddr), (Mode::VirtualChaddr, false));
        assert_eq!(begin(IdentityMode::NodeMac), (Mode::NodeMac, false));
    }

    #[test]
    fn wifi_and_macvlan_have_one_mac_address() {
        for kind in ["wlan", "macvlan"] {
            let begin = Carriage::default().begin(IdentityMode::Auto, &link(kind), "web", None);
            assert_eq!(begin, (Mode::VirtualChaddr, false), "{kind}");
        }
    }

    #[test]
    fn what_the_last_holder_used_is_begun_with_and_what_is_known_here_goes_first() {
        let mut carriage = Carriage::default();
        let recorded = Some(IdentityInUse::VirtualChaddr);
        assert_eq!(auto(&carriage, "web", recorded), (Mode::VirtualChaddr, true));
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualMac, true));
        carriage.heard("web", Mode::VirtualChaddr);
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualChaddr, false));
        carriage.heard("web", Mode::VirtualMac);
        carriage.heard("web", Mode::VirtualChaddr);
        assert_eq!(auto(&carriage, "web", recorded), (Mode::VirtualMac, true));
    }

    #[test]
    fn a_port_that_is_shut_after_the_first_foreign_frame_gets_no_second_one() {
        let now = Instant::from_boot(Duration::from_secs(100));
        let mut carriage = Carriage::default();
        carriage.enter(&link("veth"));
        carriage.lost_link(now + Duration::from_secs(1), Some(now));
        carriage.enter(&link("veth"));
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualChaddr, false));
        let other = Link { mac: Some([2, 0, 0, 0, 0, 9]), ..link("veth") };
        carriage.enter(&other);
        assert_eq!(carriage.begin(IdentityMode::Auto, &other, "web", None), (Mode::VirtualMac, true));
    }

    #[test]
    fn a_port_that_is_shut_on_one_address_too_many_keeps_those_that_passed() {
        let now = Instant::from_boot(Duration::from_secs(100));
        let mut carriage = Carriage::default();
        carriage.heard("web", Mode::VirtualMac);
        carriage.lost_link(now, Some(now));
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualMac, true));
        assert_eq!(auto(&carriage, "api", None), (Mode::VirtualChaddr, false));
        carriage.forget("web");
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualChaddr, false));
    }

    #[test]
    fn a_cable_that_is_pulled_later_means_nothing() {
        let now = Instant::from_boot(Duration::from_secs(100));
        let mut carriage = Carriage::default();
        carriage.lost_link(now + REACTION, Some(now));
        carriage.lost_link(now, None);
        assert_eq!(auto(&carriage, "web", None), (Mode::VirtualMac, true));
    }

    fn auto(carriage: &Carriage, claim: &str, recorded: Option<IdentityInUse>) -> (Mode, bool) {
        carriage.begin(IdentityMode::Auto, &link("veth"), claim, recorded)
    }

    fn link(kind: &str) -> Link {
        Link {
            index: 3,
            name: "eth1".into(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            admin_up: true,
            arp: true,
            carrier: true,
            master: None,
            kind: Some(kind.into()),
            addresses: Vec::new(),
        }
    }
}
