//! What switches, access points and hypervisors do to frames.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::repeater::{Rule, Toward, dhcp, message_type};

const OFFER: u8 = 2;
const ACK: u8 = 5;

/// Frames whose source is not the host's own hardware address are dropped, and so are those to other hosts: Wi-Fi, and
/// hypervisors with the setting "forged transmits: reject".
pub fn only_own(mac: [u8; 6]) -> impl Rule {
    move |toward, frame| {
        let passes = match toward {
            Toward::Network => frame[6..12] == mac,
            Toward::Host => frame[..6] == mac || frame[0] & 1 == 1,
        };
        if passes { vec![frame.to_vec()] } else { Vec::new() }
    }
}

/// Port security with one address: with the first frame from a foreign source the port is shut, and nothing goes through
/// until it is opened again.
pub fn shut_on_foreign_source(mac: [u8; 6], shut: Arc<AtomicBool>) -> impl Rule {
    move |toward, frame| {
        if toward == Toward::Network && frame[6..12] != mac {
            shut.store(true, Ordering::Relaxed);
        }
        if shut.load(Ordering::Relaxed) { Vec::new() } else { vec![frame.to_vec()] }
    }
}

/// Port security with a limit: besides the host's, the port carries so many source addresses, the first that come.
pub fn limited(mac: [u8; 6], others: usize) -> impl Rule {
    let mut carried = BTreeSet::new();
    move |toward, frame| {
        let source = frame[6..12].to_vec();
        if toward == Toward::Network && source != mac && carried.len() < others {
            carried.insert(source.clone());
        }
        let passes = toward == Toward::Host || source == mac || carried.contains(&source);
        if passes { vec![frame.to_vec()] } else { Vec::new() }
    }
}

/// The server never sees that broadcasts are asked for, and answers to the hardware address.
pub fn without_broadcast_flag() -> impl Rule {
    |toward, frame| {
        let mut frame = frame.to_vec();
        if let (Toward::Network, Some(message)) = (toward, dhcp(&mut frame)) {
            message[10] &= 0x7f;
        }
        vec![frame]
    }
}

/// A firewall lets DHCP by broadcast through, and what clients send to the server's own address not.
pub fn without_unicast_requests() -> impl Rule {
    |toward, frame| {
        let mut copy = frame.to_vec();
        let dropped = toward == Toward::Network && frame[0] & 1 == 0 && dhcp(&mut copy).is_some();
        if dropped { Vec::new() } else { vec![frame.to_vec()] }
    }
}

/// One after the other.
pub fn both(mut first: impl Rule, mut second: impl Rule) -> impl Rule {
    move |toward, frame| first(toward, frame).iter().flat_map(|frame| second(toward, frame)).collect()
}

/// Each frame comes twice.
pub fn twice() -> impl Rule {
    |_, frame| vec![frame.to_vec(), frame.to_vec()]
}

/// Every so many frames of DHCP one is lost, the first one to begin with.
pub fn lossy(every: usize) -> impl Rule {
    let mut seen = 0;
    move |_, frame| {
        let mut frame = frame.to_vec();
        if dhcp(&mut frame).is_some() {
            seen += 1;
            if seen % every == 1 {
                return Vec::new();
            }
        }
        vec![frame]
    }
}

/// Whatever a server leases is this address, if `when` says so of the message that it sends.
pub fn leases_only(address: Ipv4Addr, when: impl Fn(&[u8]) -> bool + Send + 'static) -> impl Rule {
    move |toward, frame| {
        let mut frame = frame.to_vec();
        if let (Toward::Host, Some(message)) = (toward, dhcp(&mut frame))
            && matches!(message_type(message), Some(OFFER | ACK))
            && when(message)
        {
            message[16..20].copy_from_slice(&address.octets());
        }
        vec![frame]
    }
}
