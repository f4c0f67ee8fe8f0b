//! Which of the many times that a gateway says it is there are news.

use std::net::Ipv4Addr;

use foghorn_portmap::Notice;

use crate::ssdp::Notify;

/// Addresses that are remembered, and locations of each: more than a network has gateways, and devices in one.
const MOST: usize = 16;

/// What gateways have said by SSDP. They say it several times each, and again every few minutes.
#[derive(Debug, Default)]
pub struct Alive {
    /// The one that was heard last is at the end.
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    address: Ipv4Addr,
    /// Its devices by their locations, with BOOTID.UPNP.ORG; none after it has gone.
    devices: Vec<(String, Option<u32>)>,
}

impl Alive {
    /// What this is news of, if it is.
    pub fn hear(&mut self, from: Ipv4Addr, said: Notify<'_>) -> Option<Notice> {
        let known = self.hosts.iter().position(|host| host.address == from);
        let mut host = match known {
            Some(index) => self.hosts.remove(index),
            None => Host { address: from, devices: Vec::new() },
        };
        let news = match said {
            Notify::ByeBye => {
                let was_there = known.is_none() || !host.devices.is_empty();
                host.devices.clear();
                was_there.then_some(Notice::ByeBye)
            }
            Notify::Alive { location, boot_id } => {
                let device = (location.to_owned(), boot_id);
                let as_before = host.devices.contains(&device);
                host.devices.retain(|(before, _)| before != location);
                push(&mut host.devices, device);
                (!as_before).then_some(Notice::Alive)
            }
        };
        push(&mut self.hosts, host);
        news
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= MOST {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_repeats_itself_is_news_once() {
        let mut alive = Alive::default();
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), None);
        assert_eq!(alive.hear(OTHER, there("http://a/", 1)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), None);
    }

    #[test]
    fn a_gateway_that_has_started_again_or_moved_is_news() {
        let mut alive = Alive::default();
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 2)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://b/", 2)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 2)), None);
        let without = Notify::Alive { location: "http://a/", boot_id: None };
        assert_eq!(alive.hear(GATEWAY, without), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, without), None);
    }

    #[test]
    fn a_gateway_goes_once_and_is_news_when_it_comes_back() {
        let mut alive = Alive::default();
        assert_eq!(alive.hear(GATEWAY, Notify::ByeBye), Some(Notice::ByeBye));
        assert_eq!(alive.hear(GATEWAY, Notify::ByeBye), None);
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, Notify::ByeBye), Some(Notice::ByeBye));
        assert_eq!(alive.hear(GATEWAY, Notify::ByeBye), None);
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), Some(Notice::Alive));
    }

    #[test]
    fn two_devices_of_a_host_do_not_make_news_of_each_other() {
        let mut alive = Alive::default();
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://b/", 5)), Some(Notice::Alive));
        assert_eq!(alive.hear(GATEWAY, there("http://a/", 1)), None);
        assert_eq!(alive.hear(GATEWAY, there("http://b/", 5)), None);
    }

    #[test]
    fn a_flood_takes_no_more_room_than_there_is() {
        let mut alive = Alive::default();
        for number in 0..1000 {
            alive.hear(Ipv4Addr::from_bits(number), there("http://a/", 1));
            alive.hear(GATEWAY, there(&format!("http://{number}/"), 1));
        }
        assert_eq!(alive.hosts.len(), MOST);
        assert!(alive.hosts.iter().all(|host| host.devices.len() <= MOST));
        assert_eq!(alive.hear(GATEWAY, there("http://999/", 1)), None);
    }

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn there(location: &str, boot_id: u32) -> Notify<'_> {
        Notify::Alive { location, boot_id: Some(boot_id) }
    }
}
