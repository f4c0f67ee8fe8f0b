//! The status of a claim, as the API server gets it.

use foghorn_clock::Instant;
use foghorn_crds::{
    AddressClaimStatus, ClaimDhcp, ClaimIdentity, ClaimLease, ClaimRoute, conditions, hardware_address,
};
use foghorn_dhcp::{Identity, Lease, Mode, Route};
use foghorn_membership::Grant;
use ipnet::Ipv4Net;
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{Timestamp, Unit},
};

use super::{ApiTime, carriage::in_use, held::Facts};

/// Of an address that is announced, where a port carries the MAC addresses of some claims and not that of this one.
const PORT_LIMIT: &str = "; its DHCP frames have the interface's MAC address, since no server answered to the claim's own: the \
    switch port may limit the number of MAC addresses";

/// Who reports, and when.
pub(super) struct Reporter<'a> {
    pub(super) node: &'a str,
    pub(super) interface: &'a str,
    pub(super) hardware_address: Option<[u8; 6]>,
    /// The plane's `dhcp.identitySeed`.
    pub(super) seed: &'a str,
    pub(super) grant: Grant,
    pub(super) api_time: ApiTime,
    pub(super) now: Timestamp,
}

impl Reporter<'_> {
    /// The whole status that tells `facts`; `serving` are the nodes that serve the claim, if not all do.
    pub(super) fn status(
        &self,
        facts: &Facts,
        identity: &Identity,
        dhcp: ClaimDhcp,
        error: Option<String>,
        serving: &[String],
    ) -> AddressClaimStatus {
        let ready = facts.announced;
        let message = match (facts.address, &error) {
            (Some(address), _) if facts.announced => {
                let note = if facts.limited { PORT_LIMIT } else { "" };
                format!("{address} is announced by node {} on {}{note}", self.node, self.interface)
            }
            (Some(address), _) => format!("{address} is leased and not announced: {}", unserved(serving)),
            (None, Some(error)) => error.clone(),
            (None, None) if facts.reason == conditions::reasons::RELEASED => "given back".to_owned(),
            (None, None) => "asking the network's DHCP server for an address".to_owned(),
        };
        let condition = conditions::condition(
            conditions::READY,
            ready,
            facts.reason,
            message,
            facts.generation,
            self.now,
        );
        AddressClaimStatus {
            observed_generation: facts.generation,
            state: Some(facts.state),
            address: facts.address,
            holder: Some(self.node.to_owned()),
            holder_hardware_address: self.hardware_address.map(hardware_address::format),
            epoch: Some(self.grant.to_string()),
            interface: Some(self.interface.to_owned()),
            identity: Some(self.identity(identity, facts.mode)),
            lease: facts.lease.as_ref().and_then(|lease| self.lease(lease)),
            dhcp: Some(dhcp),
            last_error: error,
            forwards: Vec::new(),
            conditions: vec![condition],
        }
    }

    fn identity(&self, identity: &Identity, mode: Option<Mode>) -> ClaimIdentity {
        ClaimIdentity {
            hardware_address: hardware_address::format(identity.hardware_address),
            client_id: identity.client_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            seed: (!self.seed.is_empty()).then(|| self.seed.to_owned()),
            mode: mode.map(in_use),
        }
    }

    fn lease(&self, lease: &Lease) -> Option<ClaimLease> {
        let time = |instant| {
            let exact = self.api_time.timestamp(instant)?;
            Some(MicroTime(exact.round(Unit::Millisecond).unwrap_or(exact)))
        };
        Some(ClaimLease {
            address: lease.address,
            server: lease.server_id,
            prefix_length: lease.subnet_mask.and_then(|mask| ipnet::ipv4_mask_to_prefix(mask).ok()),
            routers: lease.routers.clone(),
            routes: lease.routes.iter().filter_map(claim_route).collect(),
            acquired_at: time(lease.bound_at)?,
            renew_at: time(lease.renew_at),
            rebind_at: time(lease.rebind_at),
            expires_at: time(lease.expires_at),
        })
    }
}

/// Why no announcer may answer for an address, where these nodes alone serve the claim.
fn unserved(nodes: &[String]) -> String {
    if nodes.is_empty() {
        return "no node has a ready endpoint of the Service (externalTrafficPolicy: Local)".to_owned();
    }
    format!(
        "no announcer of the plane can take it over on {}, where the Service has its endpoints (externalTrafficPolicy: \
         Local); check the plane's nodeSelector and tolerations",
        nodes.join(", ")
    )
}

/// The lease that a former holder wrote, by this node's own clock.
pub(super) fn remembered(lease: &ClaimLease, api_time: ApiTime) -> Lease {
    let instant =
        |time: &Option<MicroTime>| time.as_ref().map_or(Instant::NEVER, |time| api_time.instant(time.0));
    Lease {
        bound_at: api_time.instant(lease.acquired_at.0),
        renew_at: instant(&lease.renew_at),
        rebind_at: instant(&lease.rebind_at),
        expires_at: instant(&lease.expires_at),
        ..without_times(lease)
    }
}

/// The lease that a former holder wrote, as if it never ended.
pub(super) fn without_times(lease: &ClaimLease) -> Lease {
    Lease {
        subnet_mask: lease
            .prefix_length
            .and_then(|bits| ipnet::Ipv4Net::new(lease.address, bits).ok())
            .map(|net| net.netmask()),
        routers: lease.routers.clone(),
        routes: lease.routes.iter().map(route).collect(),
        ..Lease::without_end(lease.address, lease.server)
    }
}

fn route(route: &ClaimRoute) -> Route {
    Route {
        destination: route.destination.network(),
        prefix_length: route.destination.prefix_len(),
        gateway: route.gateway,
    }
}

fn claim_route(route: &Route) -> Option<ClaimRoute> {
    let destination = Ipv4Net::new(route.destination, route.prefix_length).ok()?;
    Some(ClaimRoute { destination, gateway: route.gateway })
}
