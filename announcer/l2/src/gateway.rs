//! Whether the network's gateway answers.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;

use crate::{ArpFrame, Mac, arp::BROADCAST};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// A gateway that answers nothing for so long does not answer.
const SILENT: Duration = Duration::from_millis(3_500);

/// Asks a gateway by ARP, once a second, whether it is there.
///
/// It is asked by its hardware address once that is known, so that a thousand nodes do not broadcast. A gateway that was
/// never heard is no failed one: there may be none, or none that answers ARP probes.
#[derive(Debug, Default)]
pub struct Gateway {
    address: Option<Ipv4Addr>,
    mac: Option<Mac>,
    heard: Option<Instant>,
    asked: Option<Instant>,
}

impl Gateway {
    /// Which address it has; what is known of another one is forgotten.
    pub fn set_address(&mut self, address: Option<Ipv4Addr>) {
        if self.address != address {
            *self = Self { address, ..Self::default() };
        }
    }

    /// The network is another one, or was away: what is known is forgotten.
    pub fn reset(&mut self) {
        *self = Self { address: self.address, ..Self::default() };
    }

    /// Takes a frame from the network; whatever the gateway says shows that it is there.
    pub fn hear(&mut self, now: Instant, frame: &[u8]) {
        let Some(address) = self.address else { return };
        if let Ok(frame) = ArpFrame::parse(frame)
            && frame.sender_ip == address
        {
            self.heard = Some(now);
            self.mac = Some(frame.sender_mac);
        }
    }

    /// The next question, if it is due: from the interface with this hardware address and one of its own addresses, or
    /// none.
    pub fn question(&mut self, now: Instant, mac: Mac, own: Option<Ipv4Addr>) -> Option<Vec<u8>> {
        let address = self.address?;
        if self.asked.is_some_and(|asked| now - asked < INTERVAL) {
            return None;
        }
        self.asked = Some(now);
        let known = self.mac.filter(|_| self.answers(now) == Some(true));
        let request = ArpFrame::request(mac, own.unwrap_or(Ipv4Addr::UNSPECIFIED), address);
        Some(ArpFrame { destination: known.unwrap_or(BROADCAST), ..request }.build())
    }

    /// When the next question is due; never without an address.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.address?;
        Some(self.asked.map_or(Instant::ZERO, |asked| asked + INTERVAL))
    }

    /// Whether it answers; not known if it never did.
    #[must_use]
    pub fn answers(&self, now: Instant) -> Option<bool> {
        self.heard.map(|heard| now - heard < SILENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_never_answered_is_not_known_to_be_away() {
        let mut gateway = watched();
        assert!(gateway.question(at(0), NODE, None).is_some());
        assert_eq!(gateway.answers(at(60_000)), None);
    }

    #[test]
    fn it_is_asked_once_a_second_and_by_its_own_address_once_that_is_known() {
        let mut gateway = watched();
        let first = ArpFrame::parse(&gateway.question(at(0), NODE, None).unwrap()).unwrap();
        assert_eq!((first.destination, first.target_ip), (BROADCAST, ROUTER));
        assert_eq!(gateway.question(at(999), NODE, None), None);
        gateway.hear(at(999), &answer());
        let second = gateway.question(at(1_000), NODE, Some(OWN)).unwrap();
        let second = ArpFrame::parse(&second).unwrap();
        assert_eq!((second.destination, second.sender_ip), (ROUTER_MAC, OWN));
    }

    #[test]
    fn one_that_falls_silent_does_not_answer_and_is_asked_by_broadcast_again() {
        let mut gateway = watched();
        gateway.hear(at(0), &answer());
        assert_eq!(gateway.answers(at(3_499)), Some(true));
        assert_eq!(gateway.answers(at(3_500)), Some(false));
        let question = ArpFrame::parse(&gateway.question(at(3_500), NODE, None).unwrap()).unwrap();
        assert_eq!(question.destination, BROADCAST);
    }

    #[test]
    fn nobody_else_is_taken_for_it_and_another_address_is_another_gateway() {
        let mut gateway = watched();
        let other = ArpFrame::gratuitous_reply(ROUTER_MAC, OWN).build();
        gateway.hear(at(0), &other);
        assert_eq!(gateway.answers(at(0)), None);
        gateway.hear(at(0), &answer());
        gateway.set_address(Some(OWN));
        assert_eq!(gateway.answers(at(0)), None);
        gateway.set_address(None);
        assert_eq!(gateway.question(at(9_000), NODE, None), None);
    }

    const NODE: Mac = [2, 0, 0, 0, 0, 1];
    const ROUTER_MAC: Mac = [2, 0, 0, 0, 0, 9];
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);

    fn watched() -> Gateway {
        let mut gateway = Gateway::default();
        gateway.set_address(Some(ROUTER));
        gateway
    }

    fn answer() -> Vec<u8> {
        ArpFrame::reply_to(&ArpFrame::request(NODE, OWN, ROUTER), ROUTER_MAC).build()
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(100) + Duration::from_millis(milliseconds))
    }
}
