//! Where the other members are, and by which ways they are heard.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::Source;
use foghorn_membership::{MemberId, Seat, To, View};

/// One that is no member is sent to while it was heard in this time.
const STRANGER: Duration = Duration::from_secs(10);
/// One that was not heard for so long is forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// By which ways the other members of the view are heard, in the view's order.
pub type Paths = Vec<PathsOf>;

/// By which ways a member is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathsOf {
    /// The member.
    pub seat: Seat,
    /// When a frame of it last came on the plane's own network; none if not in the last minute.
    pub wire: Option<Instant>,
    /// The hardware address that it came from.
    pub mac: Option<[u8; 6]>,
    /// When a frame of it last came by UDP between node addresses.
    pub udp: Option<Instant>,
}

/// All that were heard lately, members or not.
#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<MemberId, Peer>);

#[derive(Debug, Default)]
struct Peer {
    wire: Option<(Instant, [u8; 6])>,
    udp: Option<(Instant, IpAddr)>,
    /// As it says itself.
    address: Option<IpAddr>,
}

/// Where a message goes.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// Hardware addresses; none for the group of all.
    pub(super) wire: Vec<[u8; 6]>,
    /// Node addresses.
    pub(super) udp: Vec<IpAddr>,
}

impl Peers {
    /// A good frame of that member has come from there. Gives how long after the one before by the same way.
    pub(super) fn heard(&mut self, now: Instant, id: MemberId, source: Source) -> Option<Duration> {
        if !self.0.contains_key(&id) {
            self.0.retain(|_, peer| peer.heard_within(now, FORGET));
        }
        let peer = self.0.entry(id).or_default();
        let before = match source {
            Source::Wire(mac) => peer.wire.replace((now, mac)).map(|(at, _)| at),
            Source::Udp(address) => peer.udp.replace((now, address)).map(|(at, _)| at),
        };
        before.map(|before| now - before)
    }

    /// The member has said where it is.
    pub(super) fn introduced(&mut self, seat: &Seat) {
        if let Some(peer) = self.0.get_mut(&seat.id) {
            peer.address = seat.address;
        }
    }

    /// Where a message of `me` goes, written into `targets`.
    pub(super) fn targets(
        &self,
        now: Instant,
        me: &Seat,
        to: &To,
        view: Option<&View>,
        targets: &mut Targets,
    ) {
        let Targets { wire, udp } = targets;
        wire.clear();
        udp.clear();
        match to {
            To::All => {
                let members = view.into_iter().flat_map(|view| view.others(me.id));
                udp.extend(members.filter_map(|seat| self.address(seat.id, view)));
                let strangers = self.0.iter().filter(|(_, peer)| peer.heard_within(now, STRANGER));
                udp.extend(strangers.filter_map(|(id, _)| self.address(*id, view)));
            }
            To::Only(members) => {
                udp.extend(members.iter().filter_map(|id| self.address(*id, view)));
                let macs = members.iter().map(|id| Some(self.0.get(id)?.wire?.1));
                // One that was not heard is only found with all others.
                *wire = macs.collect::<Option<_>>().unwrap_or_default();
            }
        }
        // A member that was restarted has the address of the one before.
        udp.sort_unstable();
        udp.dedup();
        udp.retain(|address| Some(*address) != me.address);
    }

    /// By which ways the members of the view are heard by `me`.
    pub(super) fn paths(&self, me: MemberId, view: Option<&View>) -> Paths {
        let members = view.into_iter().flat_map(|view| view.others(me));
        let paths = |seat: &Seat| {
            let peer = self.0.get(&seat.id);
            let (wire, mac) = peer.and_then(|peer| peer.wire).unzip();
            let udp = peer.and_then(|peer| peer.udp).map(|(at, _)| at);
            PathsOf { seat: seat.clone(), wire, mac, udp }
        };
        members.map(paths).collect()
    }

    fn address(&self, id: MemberId, view: Option<&View>) -> Option<IpAddr> {
        let seat = view.and_then(|view| view.seats.iter().find(|seat| seat.id == id));
        let peer = self.0.get(&id);
        let said = seat.and_then(|seat| seat.address).or_else(|| peer?.address);
        said.or_else(|| Some(peer?.udp?.1))
    }
}

impl Peer {
    fn heard_within(&self, now: Instant, time: Duration) -> bool {
        let latest = self.wire.map(|(at, _)| at).max(self.udp.map(|(at, _)| at));
        latest.is_some_and(|at| now - at < time)
    }
}

#[cfg(test)]
mod tests {
    use foghorn_membership::Epoch;

    use super::*;

    #[test]
    fn all_are_the_view_and_those_that_are_heard_and_want_to_join() {
        let mut peers = Peers::default();
        let _pause = peers.heard(NOW, MemberId(3), Source::Wire([2, 0, 0, 0, 0, 3]));
        peers.introduced(&seat(3));
        let _pause = peers.heard(NOW, MemberId(4), Source::Udp(address(4)));
        let of = |now| targets(&peers, now, &To::All);
        assert_eq!(of(NOW), (vec![], vec![address(2), address(3), address(4)]));
        assert_eq!(of(NOW + STRANGER), (vec![], vec![address(2)]));
    }

    #[test]
    fn a_node_with_two_incarnations_gets_a_message_once_and_ones_own_node_gets_none() {
        let mut peers = Peers::default();
        for (incarnation, node) in [(12, 2), (11, 1)] {
            let _pause = peers.heard(NOW, MemberId(incarnation), Source::Udp(address(node)));
        }
        assert_eq!(targets(&peers, NOW, &To::All).1, [address(2)]);
    }

    #[test]
    fn some_are_sent_to_by_their_hardware_addresses_and_to_the_group_if_one_of_these_is_not_known() {
        let mut peers = Peers::default();
        let _pause = peers.heard(NOW, MemberId(2), Source::Wire([2, 0, 0, 0, 0, 2]));
        let only = |ids: &[u64]| To::Only(ids.iter().copied().map(MemberId).collect());
        let of = |ids| targets(&peers, NOW, &only(ids));
        assert_eq!(of(&[2]), (vec![[2, 0, 0, 0, 0, 2]], vec![address(2)]));
        assert_eq!(of(&[2, 3]), (vec![], vec![address(2)]));
    }

    #[test]
    fn the_paths_are_those_of_the_view_and_silence_shows() {
        let mut peers = Peers::default();
        let view = view();
        let none = PathsOf { seat: seat(2), wire: None, mac: None, udp: None };
        assert_eq!(peers.paths(MemberId(1), Some(&view)), std::slice::from_ref(&none));
        let _pause = peers.heard(NOW, MemberId(2), Source::Udp(address(2)));
        let _pause = peers.heard(NOW, MemberId(9), Source::Udp(address(9)));
        assert_eq!(peers.paths(MemberId(1), Some(&view)), [PathsOf { udp: Some(NOW), ..none }]);
    }

    #[test]
    fn those_that_are_silent_for_long_are_forgotten() {
        let mut peers = Peers::default();
        for id in 2..1_000 {
            let _pause = peers.heard(NOW, MemberId(id), Source::Udp(address(2)));
        }
        let _pause = peers.heard(NOW + FORGET, MemberId(1_000), Source::Udp(address(2)));
        assert_eq!(peers.0.len(), 1);
    }

    fn targets(peers: &Peers, now: Instant, to: &To) -> (Vec<[u8; 6]>, Vec<IpAddr>) {
        let mut targets = Targets::default();
        peers.targets(now, &seat(1), to, Some(&view()), &mut targets);
        (targets.wire, targets.udp)
    }

    fn view() -> View {
        View { epoch: Epoch::default(), coordinator: MemberId(1), seats: vec![seat(1), seat(2)] }
    }

    fn seat(id: u8) -> Seat {
        Seat { id: MemberId(id.into()), node: format!("node{id}"), address: Some(address(id)) }
    }

    fn address(node: u8) -> IpAddr {
        [192, 0, 2, node].into()
    }

    const NOW: Instant = Instant::from_boot(Duration::from_secs(100));
}
