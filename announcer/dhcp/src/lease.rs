//! A lease and its times.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use rand::{Rng, rngs::StdRng};

use crate::{Route, wire::Reply};

/// What a server leased to this client. All times are on the machine's own clock; the caller turns them into times
/// of day where they leave the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Option 54: whom renewals and the release go to, exactly (RFC 2131 section 4.4.5).
    pub server_id: Ipv4Addr,
    /// Mask of the address's subnet, if the server told.
    pub subnet_mask: Option<Ipv4Addr>,
    /// Routers in order of preference.
    pub routers: Vec<Ipv4Addr>,
    /// Classless routes; where there are any, they count in place of the routers.
    pub routes: Vec<Route>,
    /// When the first REQUEST of the exchange was sent: what the server's times count from. A repeated REQUEST has
    /// the same xid, so the answer may be to the first.
    pub bound_at: Instant,
    /// T1: when to ask the server for more time. [`Instant::NEVER`] for an infinite lease, as are the next two.
    pub renew_at: Instant,
    /// T2: when to ask any server.
    pub rebind_at: Instant,
    /// When the address must not be used any more.
    pub expires_at: Instant,
}

const INFINITE: u32 = u32::MAX;
/// A lease shorter than this cannot be renewed in time; it is taken to be this long, as dhcpcd does.
const SHORTEST: u32 = 20;
/// A T1 below this would have client and server talk without end.
const SOONEST: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

impl Lease {
    /// A lease of which no more is known than the address and its server, and that does not end.
    #[must_use]
    pub fn without_end(address: Ipv4Addr, server_id: Ipv4Addr) -> Self {
        Self {
            address,
            server_id,
            subnet_mask: None,
            routers: Vec::new(),
            routes: Vec::new(),
            bound_at: Instant::ZERO,
            renew_at: Instant::NEVER,
            rebind_at: Instant::NEVER,
            expires_at: Instant::NEVER,
        }
    }

    /// The lease that an ACK grants at `now` to a REQUEST first sent at `bound_at`, or what it lacks.
    pub(crate) fn from_ack(
        ack: &Reply,
        bound_at: Instant,
        now: Instant,
        rng: &mut StdRng,
    ) -> Result<Self, &'static str> {
        let (address, server_id, lease_time) = grant(ack)?;
        let never = Instant::NEVER;
        let (renew_at, rebind_at, expires_at) = if lease_time == INFINITE {
            (never, never, never)
        } else {
            let lease_time = lease_time.max(SHORTEST);
            let (t1, t2) = renewal_times(lease_time, ack.renewal_time, ack.rebinding_time);
            // One offset for both keeps their order; T2 is a second or more before the end.
            let fuzz = rng.random_range(Duration::ZERO..2 * SECOND);
            let fuzzed = |t: Duration| (bound_at + t + fuzz).saturating_sub(SECOND);
            (fuzzed(t1), fuzzed(t2), bound_at + Duration::from_secs(lease_time.into()))
        };
        if expires_at <= now {
            return Err("the time that it grants is over");
        }
        Ok(Self {
            address,
            server_id,
            subnet_mask: ack.subnet_mask,
            routers: ack.routers.clone(),
            routes: ack.routes.clone(),
            bound_at,
            renew_at,
            rebind_at,
            expires_at,
        })
    }

    /// Where a frame to `destination` goes: to `destination` itself on the link, else to the router that the lease
    /// names for it; `None` if it names none. Without a mask nothing is known to be on the link.
    #[must_use]
    pub fn next_hop(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        if self.is_on_link(destination) {
            return Some(destination);
        }
        if self.routes.is_empty() {
            return self.routers.first().copied();
        }
        let route = self.routes.iter().filter(|route| route.contains(destination));
        let route = route.max_by_key(|route| route.prefix_length)?;
        Some(if route.gateway.is_unspecified() { destination } else { route.gateway })
    }

    /// The router that leads out of the address's network: of classless routes that of the default route, or of the first
    /// one. Nothing if it is not known to be in that network.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        let default = self.routes.iter().find(|route| route.prefix_length == 0);
        let router = match default.or(self.routes.first()) {
            Some(route) => route.gateway,
            None => *self.routers.first()?,
        };
        let is_router = is_host(router) && router != self.address && self.is_on_link(router);
        is_router.then_some(router)
    }

    /// Whether the host is in the network of the address. Without a mask none is known to be.
    fn is_on_link(&self, host: Ipv4Addr) -> bool {
        self.subnet_mask.is_some_and(|mask| {
            let network = |address: Ipv4Addr| address.to_bits() & mask.to_bits();
            network(host) == network(self.address)
        })
    }

    /// The same lease with its times in order, whatever a record of it said.
    pub(crate) fn ordered(mut self) -> Self {
        self.rebind_at = self.rebind_at.min(self.expires_at);
        self.renew_at = self.renew_at.min(self.rebind_at);
        self
    }
}

/// The address, server and lease time (seconds) that an OFFER or ACK must have, or what is wrong with it.
pub(crate) fn grant(reply: &Reply) -> Result<(Ipv4Addr, Ipv4Addr, u32), &'static str> {
    let server_id = reply.server_id.ok_or("it has no server identifier (54)")?;
    if !is_host(server_id) {
        return Err("its server identifier (54) is no host's address");
    }
    if !is_host(reply.address) {
        return Err("the address in it is no host's");
    }
    let lease_time = reply.lease_time.filter(|&t| t > 0).ok_or("it has no lease time (51)")?;
    Ok((reply.address, server_id, lease_time))
}

/// T1 and T2 of a lease, from what the server sent where that makes sense (RFC 2131 section 4.4.5).
fn renewal_times(lease_time: u32, t1: Option<u32>, t2: Option<u32>) -> (Duration, Duration) {
    let lease = Duration::from_secs(lease_time.into());
    let (half, seven_eighths) = (lease / 2, lease * 7 / 8);
    let given = |t: Option<u32>| t.filter(|&t| t > 0).map(|t| Duration::from_secs(t.into()));
    let (t1, t2) = match (given(t1), given(t2)) {
        (Some(t1), Some(t2)) => (t1, t2),
        (Some(t1), None) => (t1, seven_eighths),
        (None, Some(t2)) => (half.min(t2 * 4 / 7), t2),
        (None, None) => (half, seven_eighths),
    };
    if SOONEST <= t1 && t1 < t2 && t2 < lease { (t1, t2) } else { (half, seven_eighths) }
}

/// Whether a single host can have this address.
fn is_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && !address.is_loopback() && !address.is_multicast() && first < 240
}
