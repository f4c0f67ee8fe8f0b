//! Pings of the claims' addresses.

use std::net::Ipv4Addr;

use foghorn_crds::{GuardMode, HostAddressMode};

use crate::network::{CLIENT, CLIENT_MAC, MS, NIC, Network, SECOND};

#[test]
fn pings_of_announced_addresses_are_answered_with_and_without_a_guard() {
    for guard in [GuardMode::Off, GuardMode::Drop, GuardMode::Reject] {
        let mut network = held(guard);
        let address = network.address("web").unwrap();
        let reply = ping(&mut network, address).unwrap();
        assert_eq!((&reply[..6], &reply[6..12]), (&CLIENT_MAC[..], &NIC[..]));
        assert_eq!((reply[26..30].to_vec(), reply[34]), (address.octets().to_vec(), 0));
        assert_eq!(network.metric("foghorn_pings_answered_total"), 0.0, "the shell counts what it has sent");
        assert_eq!(ping(&mut network, Ipv4Addr::new(203, 0, 113, 77)), None, "another host's address");
    }
}

#[test]
fn a_ping_that_the_kernel_answers_is_not_answered_twice() {
    for (guard, answered) in [(GuardMode::Off, [false, true]), (GuardMode::Drop, [true, true])] {
        let mut network = Network::new();
        network.configure(|config| {
            (config.guard, config.host_address.mode) = (guard, HostAddressMode::Fenced);
            config.host_address.max_per_node = 1;
        });
        ["a", "b"].iter().for_each(|name| network.claim(name));
        network.run(20 * SECOND);
        let mut addresses = ["a", "b"].map(|name| network.address(name).unwrap());
        addresses.sort_unstable();
        let answers = addresses.map(|address| ping(&mut network, address).is_some());
        assert_eq!(answers, answered, "the interface has one of the two addresses: {guard:?}");
        assert!(!network.metrics().contains("malformed"));
    }
}

#[test]
fn a_claim_that_is_revoked_answers_no_ping() {
    let mut network = held(GuardMode::Reject);
    let address = network.address("web").unwrap();
    network.lose();
    assert_eq!(ping(&mut network, address), None);
}

#[test]
fn an_address_that_is_still_probed_answers_no_ping() {
    let mut network = asked(GuardMode::Drop);
    network.run(300 * MS);
    let address = network.server.pool[0];
    assert!(network.server.leases.values().any(|leased| *leased == address), "it is leased");
    assert_eq!(network.who_has(address), None);
    assert_eq!(ping(&mut network, address), None);
    network.run(20 * SECOND);
    assert_eq!(network.who_has(address), Some(NIC));
    assert!(ping(&mut network, address).is_some());
}

fn held(guard: GuardMode) -> Network {
    let mut network = asked(guard);
    network.run(20 * SECOND);
    network
}

/// A claim that has no address yet.
fn asked(guard: GuardMode) -> Network {
    let mut network = Network::new();
    network.configure(|config| config.guard = guard);
    network.claim("web");
    network
}

/// What the engine sends when it is asked.
fn ping(network: &mut Network, address: Ipv4Addr) -> Option<Vec<u8>> {
    let before = network.sent.len();
    network.frame(&request(address));
    network.sent.get(before).map(|(_, frame)| frame.clone())
}

fn request(to: Ipv4Addr) -> Vec<u8> {
    let summed = |mut octets: Vec<u8>, at: usize| {
        let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        octets[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        octets
    };
    let message = summed(vec![8, 0, 0, 0, 0, 7, 0, 1, b'p', b'i', b'n', b'g'], 2);
    let fixed = [0x45, 0, 0, 32, 0, 1, 0, 0, 64, 1, 0, 0];
    let header = summed([&fixed[..], &CLIENT.octets(), &to.octets()].concat(), 10);
    [&NIC[..], &CLIENT_MAC, &[8, 0], &header, &message].concat()
}
