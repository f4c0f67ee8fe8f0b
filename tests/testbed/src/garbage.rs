//! What no host should send.

use std::net::Ipv4Addr;

use foghorn_lab::{Host, Result};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::frames;

const STORM: usize = 10_000;
const EACH: usize = 2_000;

/// Sends from `eth0` of a host: random frames, DHCP replies cut short, with impossible lengths and with random octets, and a
/// storm of 10,000 ARP requests for an address. Answers with how many frames that were.
///
/// # Errors
/// If the frames cannot be sent.
pub fn garbage(host: &Host, address: Ipv4Addr) -> Result<usize> {
    frames::send(host, move |mac| {
        let mut rng = StdRng::seed_from_u64(1);
        (0..STORM + 3 * EACH)
            .map(|n| match n % 8 {
                0 => random(&mut rng),
                1 => reply(&mut rng, |message, rng| message.truncate(rng.random_range(0..message.len()))),
                2 => reply(&mut rng, |message, rng| message[2] = rng.random_range(7..=255)),
                _ => who_has(address, mac, &mut rng),
            })
            .collect()
    })
}

fn random(rng: &mut StdRng) -> Vec<u8> {
    let mut frame = vec![0; rng.random_range(14..400)];
    rng.fill(&mut frame[..]);
    frame[..6].fill(0xff);
    frame[12..14].copy_from_slice(if rng.random() { &[8, 6] } else { &[8, 0] });
    frame
}

/// A request from a host that does not exist, so that the storm does not hit a limit for one asker only.
fn who_has(address: Ipv4Addr, mac: [u8; 6], rng: &mut StdRng) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend([203, 0, 113, rng.random_range(220..250)]);
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A DHCP reply by broadcast whose BOOTP message was spoilt.
fn reply(rng: &mut StdRng, spoil: impl Fn(&mut Vec<u8>, &mut StdRng)) -> Vec<u8> {
    let mut message = vec![0; 300];
    rng.fill(&mut message[4..]);
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[236..243].copy_from_slice(&[99, 130, 83, 99, 53, 1, 5]);
    spoil(&mut message, rng);
    let length = message.len().min(1400);
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 0x66, 8, 0, 0x45, 0]);
    frame.extend(octets(length + 28));
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 203, 0, 113, 2, 255, 255, 255, 255]);
    let header = &frame[14..34];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = (!folded).to_be_bytes();
    frame[24..26].copy_from_slice(&[high, low]);
    frame.extend([0, 67, 0, 68]);
    frame.extend(octets(length + 8));
    frame.extend([0, 0]);
    frame.extend(&message[..length]);
    frame
}

fn octets(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}
