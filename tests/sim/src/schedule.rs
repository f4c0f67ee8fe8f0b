//! What goes wrong in a simulated network, and when: all from one number.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    network::Weather,
    server::{Key, ServerConfig, Unknown},
};

/// A network, its claims, and what happens to them.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The number that all chance comes from.
    pub seed: u64,
    /// How many claims there are.
    pub claims: usize,
    /// How their clients ask.
    pub habits: Habits,
    /// Whether the network carries frames from hardware addresses that are no interface's.
    pub carries_virtual_mac: bool,
    /// The DHCP servers on the wire.
    pub servers: Vec<ServerConfig>,
    /// What goes wrong, in order of time.
    pub faults: Vec<(Instant, Fault)>,
    /// When all faults are over.
    pub quiet_from: Instant,
    /// When the schedule ends.
    pub end: Instant,
}

/// What a plane chooses for its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// All claims are on one node, which sees to it that no two take one address.
    pub one_node: bool,
    /// They have the hardware address of that node.
    pub node_mac: bool,
    /// The client finds out what the network carries.
    pub finds_mode: bool,
    /// A server may answer DISCOVER with ACK.
    pub rapid_commit: bool,
    /// A lease that is taken over is confirmed at once.
    pub confirm_takeover: bool,
    /// How long offers are collected.
    pub offer_wait: Duration,
}

/// What goes wrong. Servers and claims are named by number.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The wire becomes worse, or better.
    Weather(Weather),
    /// A server is away for a time.
    Away(usize, Duration),
    /// A server starts again, and may have lost its leases.
    Restart(usize, Forgets),
    /// A server leases another range.
    Renumber(usize),
    /// A server answers each REQUEST with NAK for a time.
    Refuses(usize, Duration),
    /// A server answers renewals with another address for a time.
    Moves(usize, Duration),
    /// A node is gone; after a time another one takes over.
    FailOver(usize, Duration),
    /// A node is gone, and another one takes over that does not know how late it is.
    UnsureFailOver(usize, Duration),
    /// A process stands still for a time.
    Stop(usize, Duration),
    /// The nodes have a carrier again.
    LinkUp,
    /// A foreign host takes the claim's address for a time and does not give way.
    Squat(usize, Duration),
    /// The claim's address is forbidden for a time.
    Forbid(usize, Duration),
    /// The Service is deleted, and after a time made again.
    Remake(usize, Duration),
}

/// What is left of a server's leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgets {
    /// All of them.
    Nothing,
    /// None of them.
    Everything,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

impl Schedule {
    /// A schedule without faults.
    #[must_use]
    pub fn calm(seed: u64, lease_time: u32, lasting: Duration) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            seed,
            claims: 6,
            habits: Habits::default(),
            carries_virtual_mac: true,
            servers: vec![server(&mut rng, 1, lease_time)],
            faults: Vec::new(),
            quiet_from: Instant::ZERO,
            end: Instant::ZERO + lasting,
        }
    }

    /// A schedule of random faults for leases of a given time.
    #[must_use]
    pub fn random(seed: u64, lease_time: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let lease = Duration::from_secs(lease_time.into());
        let faulty = (lease * 200).clamp(DAY / 2, 21 * DAY);
        let claims = rng.random_range(2..=6);
        let count = rng.random_range(1..=2);
        let servers: Vec<_> = (1..=count).map(|number| server(&mut rng, number, lease_time)).collect();

        let one_node = rng.random();
        let node_mac = one_node && rng.random_bool(0.4);
        let habits = Habits {
            one_node,
            node_mac,
            finds_mode: !node_mac && rng.random(),
            rapid_commit: rng.random(),
            confirm_takeover: rng.random(),
            offer_wait: if rng.random() {
                between(&mut rng, SECOND / 10, 3 * SECOND)
            } else {
                Duration::ZERO
            },
        };
        let carries_virtual_mac = !habits.finds_mode || rng.random();

        let mut at = Instant::ZERO;
        let mut faults = Vec::new();
        // Some faults come in flocks, some alone.
        while at < Instant::ZERO + faulty {
            let of_server = rng.random_range(0..servers.len());
            let of_claim = rng.random_range(0..claims);
            faults.push((at, fault(&mut rng, of_server, of_claim)));
            at += if rng.random_bool(0.6) { between(&mut rng, SECOND, HOUR) } else { faulty / 16 };
        }
        // In the midst of what still lasts.
        let last = faults.last().map_or(at, |(at, _)| *at);
        let quiet_from = last + between(&mut rng, SECOND, HOUR);
        let end = quiet_from + (lease * 2).clamp(HOUR, 2 * DAY);
        Self { seed, claims, habits, carries_virtual_mac, servers, faults, quiet_from, end }
    }
}

fn server(rng: &mut StdRng, number: u8, lease_time: u32) -> ServerConfig {
    ServerConfig {
        id: Ipv4Addr::new(192, 0, 2, number),
        network: [198, 17 + number],
        pool: 100,
        lease_time,
        sends_times: rng.random(),
        key: if rng.random() { Key::ClientId } else { Key::HardwareAddress },
        unknown: *[Unknown::Silent, Unknown::Nak, Unknown::Adopt].choose(rng).unwrap_or(&Unknown::Silent),
        rapid_commit: rng.random(),
        pings: rng.random(),
    }
}

fn fault(rng: &mut StdRng, server: usize, claim: usize) -> Fault {
    // A claim is in hand again within a minute; what else goes wrong may last.
    let soon = if rng.random() { Duration::ZERO } else { between(rng, SECOND / 10, MINUTE) };
    let lasting = between(rng, SECOND, DAY);
    match rng.random_range(0..30) {
        0..=3 => Fault::Weather(weather(rng)),
        4..=6 => Fault::Away(server, lasting),
        7 | 8 => Fault::Restart(server, Forgets::Nothing),
        9 => Fault::Restart(server, Forgets::Everything),
        10 => Fault::Renumber(server),
        11 => Fault::Refuses(server, lasting),
        12 => Fault::Moves(server, lasting),
        13..=18 => Fault::FailOver(claim, soon),
        19 | 20 => Fault::UnsureFailOver(claim, soon),
        21..=23 => Fault::Stop(claim, lasting),
        24 => Fault::LinkUp,
        25 => Fault::Squat(claim, lasting),
        26 => Fault::Forbid(claim, lasting),
        // Long enough for the RELEASE to arrive before the next DISCOVER.
        _ => Fault::Remake(claim, 5 * SECOND + soon),
    }
}

fn weather(rng: &mut StdRng) -> Weather {
    if rng.random_bool(0.3) {
        return Weather::CALM;
    }
    Weather {
        loss: rng.random_range(0.0..0.6),
        duplication: rng.random_range(0.0..0.3),
        delay: between(rng, SECOND / 1000, 2 * SECOND),
    }
}

/// A time whose order of magnitude is as random as itself.
fn between(rng: &mut StdRng, least: Duration, most: Duration) -> Duration {
    least.mul_f64((most.as_secs_f64() / least.as_secs_f64()).powf(rng.random()))
}
