//! Whether the plane's network carries frames from hardware addresses other than the interface's.

use std::time::Duration;

use foghorn_clock::Instant;
use foghorn_crds::{IdentityInUse, IdentityMode};
use foghorn_dhcp::Mode;
use foghorn_netio::Link;
use tracing::{info, warn};

/// A switch that shuts its port on a foreign hardware address does so within this time.
const REACTION: Duration = Duration::from_secs(5);
/// Kinds of interface that send and receive with one hardware address only.
const ONE_ADDRESS: [&str; 4] = ["macvlan", "macvtap", "ipvlan", "wlan"];

/// What was found out on one interface. It holds as long as the announcer runs; a new one asks the claims' statuses.
#[derive(Debug, Default)]
pub(super) struct Carriage {
    /// The hardware address of the interface that this is about.
    interface: Option<[u8; 6]>,
    found: Option<Mode>,
    /// When a frame from a foreign hardware address was last sent.
    tried: Option<Instant>,
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
        recorded: Option<IdentityInUse>,
    ) -> (Mode, bool) {
        match identity {
            IdentityMode::VirtualMac => (Mode::VirtualMac, false),
            IdentityMode::VirtualChaddr => (Mode::VirtualChaddr, false),
            IdentityMode::NodeMac => (Mode::NodeMac, false),
            IdentityMode::Auto if has_one_address(link) => (Mode::VirtualChaddr, false),
            IdentityMode::Auto => match (self.found, recorded) {
                (Some(found), _) => (found, false),
                (None, Some(IdentityInUse::VirtualChaddr)) => (Mode::VirtualChaddr, true),
                (None, Some(IdentityInUse::VirtualMac | IdentityInUse::NodeMac) | None) => {
                    (Mode::VirtualMac, true)
                }
            },
        }
    }

    /// A server has answered to a claim that finds out by itself.
    pub(super) fn heard(&mut self, mode: Mode) {
        // One answer to a foreign hardware address proves more than any silence.
        if self.found.is_none() || (mode == Mode::VirtualMac && self.found != Some(mode)) {
            info!(?mode, "the network's way with foreign hardware addresses is found");
            self.found = Some(mode);
        }
    }

    /// A frame was sent in this way.
    pub(super) fn sent(&mut self, now: Instant, mode: Mode) {
        if mode == Mode::VirtualMac {
            self.tried = Some(now);
        }
    }

    /// The carrier is lost. Right after the first frames from a foreign hardware address that means a switch which shuts
    /// its port on them; they are not sent again.
    pub(super) fn lost_carrier(&mut self, now: Instant) {
        if self.found.is_none() && self.tried.is_some_and(|tried| now - tried < REACTION) {
            warn!(
                "the carrier was lost after the first frames from a foreign hardware address; none is sent any more"
            );
            self.found = Some(Mode::VirtualChaddr);
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
        let begin = |identity| carriage.begin(identity, &link("veth"), Some(IdentityInUse::VirtualChaddr));
        assert_eq!(begin(IdentityMode::VirtualMac), (Mode::VirtualMac, false));
        assert_eq!(begin(IdentityMode::VirtualChaddr), (Mode::VirtualChaddr, false));
        assert_eq!(begin(IdentityMode::NodeMac), (Mode::NodeMac, false));
    }

    #[test]
    fn wifi_and_macvlan_have_one_hardware_address() {
        for kind in ["wlan", "macvlan"] {
            let begin = Carriage::default().begin(IdentityMode::Auto, &link(kind), None);
            assert_eq!(begin, (Mode::VirtualChaddr, false), "{kind}");
        }
    }

    #[test]
    fn what_the_last_holder_used_is_begun_with_and_what_is_known_here_goes_first() {
        let mut carriage = Carriage::default();
        let recorded = Some(IdentityInUse::VirtualChaddr);
        assert_eq!(carriage.begin(IdentityMode::Auto, &link("veth"), recorded), (Mode::VirtualChaddr, true));
        assert_eq!(carriage.begin(IdentityMode::Auto, &link("veth"), None), (Mode::VirtualMac, true));
        carriage.heard(Mode::VirtualChaddr);
        assert_eq!(carriage.begin(IdentityMode::Auto, &link("veth"), None), (Mode::VirtualChaddr, false));
        carriage.heard(Mode::VirtualMac);
        carriage.heard(Mode::VirtualChaddr);
        assert_eq!(carriage.begin(IdentityMode::Auto, &link("veth"), recorded), (Mode::VirtualMac, false));
    }

    #[test]
    fn a_port_that_is_shut_after_the_first_foreign_frame_gets_no_second_one() {
        let now = Instant::from_boot(Duration::from_secs(100));
        let mut carriage = Carriage::default();
        carriage.enter(&link("veth"));
        carriage.sent(now, Mode::VirtualMac);
        carriage.lost_carrier(now + Duration::from_secs(1));
        carriage.enter(&link("veth"));
        assert_eq!(carriage.begin(IdentityMode::Auto, &link("veth"), None), (Mode::VirtualChaddr, false));
        let other = Link { mac: Some([2, 0, 0, 0, 0, 9]), ..link("veth") };
        carriage.enter(&other);
        assert_eq!(carriage.begin(IdentityMode::Auto, &other, None), (Mode::VirtualMac, true));
    }

    #[test]
    fn a_cable_pulled_later_or_where_foreign_frames_got_through_means_nothing() {
        let now = Instant::from_boot(Duration::from_secs(100));
        let mut carriage = Carriage::default();
        carriage.sent(now, Mode::VirtualMac);
        carriage.lost_carrier(now + REACTION);
        assert_eq!(carriage.found, None);
        carriage.sent(now, Mode::VirtualMac);
        carriage.heard(Mode::VirtualMac);
        carriage.lost_carrier(now);
        assert_eq!(carriage.found, Some(Mode::VirtualMac));
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
