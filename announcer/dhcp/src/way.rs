//! How a client's frames are made, and how it finds out what the network carries.

/// How the frames of a client are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Ethernet source and `chaddr` are the claim's hardware address.
    VirtualMac,
    /// `chaddr` is the claim's hardware address, the Ethernet source is the interface's; answers come by broadcast.
    VirtualChaddr,
    /// Both are the interface's hardware address; answers come by broadcast.
    NodeMac,
}

/// DISCOVERs without answer after which another way is tried in turn.
const DISCOVERS_ONE_WAY: u32 = 2;

/// What is tried, and what was found out. What was found changes with DISCOVERs only, so never while a lease is held; but a
/// port may close to a MAC address that it carried before, so the other way is tried for what stays unanswered.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    mode: Mode,
    /// The broadcast flag of [`Mode::VirtualMac`].
    broadcast: bool,
    /// Whether [`Mode::VirtualChaddr`] may take the place of [`Mode::VirtualMac`], and back.
    finds_out: bool,
    found: Option<Mode>,
}

impl Way {
    pub(crate) fn new(mode: Mode, finds_out: bool, broadcast: bool) -> Self {
        let finds_out = finds_out && mode != Mode::NodeMac;
        Self { mode, broadcast, finds_out, found: (!finds_out).then_some(mode) }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The way that is given, or that a server answered to.
    pub(crate) fn found(&self) -> Option<Mode> {
        self.found
    }

    /// The broadcast flag of a message that is sent before the address is in use, or while it is. Whoever does not
    /// receive what is sent to `chaddr`, or lets the node's own kernel receive it, asks for a broadcast. An answer to an
    /// address in use should come to that (RFC 2131 section 4.1), but some servers (busybox udhcpd) send it to `chaddr`.
    pub(crate) fn broadcast(&self, in_use: bool) -> bool {
        match self.mode {
            Mode::VirtualMac => self.broadcast && !in_use,
            Mode::VirtualChaddr => true,
            Mode::NodeMac => !in_use,
        }
    }

    /// The next DISCOVER follows `sent` ones without answer.
    pub(crate) fn next(&mut self, sent: u32) {
        if sent < DISCOVERS_ONE_WAY {
            return;
        }
        match self.mode {
            Mode::VirtualMac if self.finds_out && sent.is_multiple_of(DISCOVERS_ONE_WAY) => {
                self.mode = Mode::VirtualChaddr;
            }
            Mode::VirtualChaddr if self.finds_out => self.back(),
            Mode::VirtualMac => self.broadcast = !self.broadcast,
            Mode::VirtualChaddr | Mode::NodeMac => {}
        }
    }

    fn back(&mut self) {
        self.mode = Mode::VirtualMac;
        self.broadcast = !self.broadcast;
    }

    /// The transaction identifier of a DISCOVER in an exchange: an answer shall tell what it answers, however late.
    pub(crate) fn xid(&self, exchange: u32) -> u32 {
        match self.mode {
            Mode::VirtualChaddr if self.finds_out => !exchange,
            Mode::VirtualMac | Mode::VirtualChaddr | Mode::NodeMac => exchange,
        }
    }

    /// How the DISCOVER was sent that a reply with `xid` answers; `None` if it is of another exchange.
    pub(crate) fn answered(&self, exchange: u32, xid: u32) -> Option<Mode> {
        if !self.finds_out {
            return (exchange == xid).then_some(self.mode);
        }
        let modes = [(exchange, Mode::VirtualMac), (!exchange, Mode::VirtualChaddr)];
        modes.into_iter().find(|(of, _)| *of == xid).map(|(_, mode)| mode)
    }

    /// Whether an answer to `mode` says little so far: the server may have been slow, or away, when the other way was
    /// tried.
    pub(crate) fn doubts(&self, mode: Mode) -> bool {
        mode == Mode::VirtualChaddr && self.found != Some(mode)
    }

    /// Goes back to [`Mode::VirtualMac`] for one DISCOVER.
    pub(crate) fn try_again(&mut self) {
        self.mode = Mode::VirtualMac;
    }

    /// An exchange begins, by the way that was found.
    pub(crate) fn begin(&mut self) {
        self.mode = self.found.unwrap_or(self.mode);
    }

    /// A lease is not extended by this way: the other one is tried too. `chaddr` and client identifier, and so the lease, are
    /// the same by both. Where [`Mode::VirtualChaddr`] was found, a foreign source may shut the port.
    pub(crate) fn try_other(&mut self) {
        if self.finds_out && self.found != Some(Mode::VirtualChaddr) {
            self.mode = match self.mode {
                Mode::VirtualMac => Mode::VirtualChaddr,
                Mode::VirtualChaddr | Mode::NodeMac => Mode::VirtualMac,
            };
        }
    }

    /// A server answered to `mode` where a lease was in use.
    pub(crate) fn extended(&mut self, mode: Mode) {
        self.found.get_or_insert(mode);
    }

    /// A server answered to `mode`.
    pub(crate) fn settle(&mut self, mode: Mode) {
        self.mode = mode;
        self.found = Some(mode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_way_is_found_at_once_and_kept() {
        for mode in [Mode::VirtualChaddr, Mode::NodeMac] {
            let mut way = Way::new(mode, false, false);
            (0..9).for_each(|sent| way.next(sent));
            assert_eq!((way.mode(), way.found(), way.broadcast(false)), (mode, Some(mode), true));
        }
    }

    #[test]
    fn both_ways_are_tried_in_turn_and_with_both_values_of_the_flag() {
        let mut way = Way::new(Mode::VirtualMac, true, false);
        let tried: Vec<_> = (0..8)
            .map(|sent| {
                way.next(sent);
                (way.mode(), way.broadcast(false))
            })
            .collect();
        let (mac, chaddr) = (Mode::VirtualMac, Mode::VirtualChaddr);
        let expected = [
            (mac, false),
            (mac, false),
            (chaddr, true),
            (mac, true),
            (chaddr, true),
            (mac, false),
            (chaddr, true),
            (mac, true),
        ];
        assert_eq!(tried, expected);
        assert_eq!(way.found(), None);
    }

    #[test]
    fn an_answer_tells_what_it_answers() {
        let mut way = Way::new(Mode::VirtualMac, true, false);
        let first = way.xid(7);
        way.next(2);
        let second = way.xid(7);
        assert_eq!(way.answered(7, first), Some(Mode::VirtualMac));
        assert_eq!(way.answered(7, second), Some(Mode::VirtualChaddr));
        assert_eq!(way.answered(7, 8), None);
        assert_eq!(Way::new(Mode::VirtualMac, false, false).answered(7, !7), None);
    }
}
