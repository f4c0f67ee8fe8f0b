//! What of the claims' wishes the machine is told.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use foghorn_crds::{AddressClaim, ForwardProtocol, GatewayProtocol, PlaneConfig, WhenTaken};
use foghorn_portmap::{Config, Plane, Port, Protocol, Transport, Wanted};
use sha2::{Digest, Sha256};

use super::concerns;

/// The longest description that gateways are given, in characters: some keep no more.
const DESCRIPTION: usize = 60;

/// How the gateway is asked. A plane that forwards nothing any more still takes back what it has had.
#[must_use]
pub fn config(config: &PlaneConfig) -> Config {
    let Some(forwarding) = &config.port_forwarding else {
        let protocols = vec![Protocol::Igd, Protocol::Pcp, Protocol::NatPmp];
        return Config { protocols, another: false, ports: Vec::new() };
    };
    Config {
        protocols: forwarding.protocols.iter().map(|of| protocol(*of)).collect(),
        another: forwarding.when_taken == WhenTaken::Another,
        ports: forwarding.external_ports.iter().map(|range| range.ports()).collect(),
    }
}

/// The gateway: the one that `portForwarding` names, or the plane's router.
#[must_use]
pub fn gateway(config: &PlaneConfig, router: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let named = config.port_forwarding.as_ref().and_then(|forwarding| forwarding.gateway);
    named.or(router)
}

/// The claims that this node announces at those addresses, as far as anything of them is, or is to be, at the gateway.
#[must_use]
pub fn claims(
    config: &PlaneConfig,
    claims: &BTreeMap<String, Arc<AddressClaim>>,
    announced: &BTreeMap<Ipv4Addr, Arc<str>>,
) -> BTreeMap<Arc<str>, Wanted> {
    let held = announced.iter().filter_map(|(address, name)| Some((*address, name, claims.get(&**name)?)));
    held.filter(|(_, _, claim)| concerns(claim))
        .map(|(address, name, claim)| (name.clone(), of(config, address, claim)))
        .collect()
}

fn of(config: &PlaneConfig, address: Ipv4Addr, claim: &AddressClaim) -> Wanted {
    let forwarding = claim.spec.forwarding.as_ref();
    let wishes = forwarding.into_iter().flat_map(|forwarding| &forwarding.ports);
    let forwards = claim.status.iter().flat_map(|status| &status.forwards);
    let lease = forwarding.map_or(0, |forwarding| forwarding.lease.0);
    Wanted {
        address,
        description: description(config, claim),
        lease: (lease > 0).then(|| Duration::from_secs(lease.into())),
        secret: secret(config, claim),
        ports: wishes.map(|wish| (port(wish.protocol, wish.port), wish.external_port)).collect(),
        had: forwards.filter_map(|of| Some((port(of.protocol, of.port), of.external_port?))).collect(),
        ending: claim.metadata.deletion_timestamp.is_some(),
    }
}

/// What is known of all claims of the plane. A port of the gateway is the claim's that has it, or else that of the oldest one
/// that wants it.
#[must_use]
pub fn plane(config: &PlaneConfig, claims: &BTreeMap<String, Arc<AddressClaim>>) -> Plane {
    let mut in_order: Vec<_> = claims.iter().filter(|(_, claim)| concerns(claim)).collect();
    in_order.sort_by_key(|(name, claim)| (claim.metadata.creation_timestamp.clone(), *name));
    let mut reserved = BTreeMap::new();
    for (name, claim) in &in_order {
        for of in claim.status.iter().flat_map(|status| &status.forwards) {
            if let Some(external) = of.external_port {
                reserved.entry(port(of.protocol, external)).or_insert_with(|| Arc::from(name.as_str()));
            }
        }
    }
    for (name, claim) in &in_order {
        let ending = claim.metadata.deletion_timestamp.is_some();
        for wish in claim.spec.forwarding.iter().filter(|_| !ending).flat_map(|of| &of.ports) {
            let external = port(wish.protocol, wish.external_port);
            reserved.entry(external).or_insert_with(|| Arc::from(name.as_str()));
        }
    }
    Plane {
        reserved,
        prefix: prefix(config),
        descriptions: claims.values().map(|claim| description(config, claim)).collect(),
    }
}

/// `foghorn 1a2b3c4d 5e6f7a8b shop/web`: the cluster and the plane, the claim, and its Service for people.
fn description(config: &PlaneConfig, claim: &AddressClaim) -> String {
    let service = &claim.spec.service_ref;
    let tag = tag(&[&service.namespace, &service.name]);
    let whole = format!("{}{tag} {}/{}", prefix(config), service.namespace, service.name);
    whole.chars().take(DESCRIPTION).collect()
}

fn prefix(config: &PlaneConfig) -> String {
    format!("foghorn {} ", tag(&[config.identity_seed(), &config.plane]))
}

fn tag(parts: &[&str]) -> String {
    hash(parts).iter().take(4).map(|octet| format!("{octet:02x}")).collect()
}

/// What only those know that may read the cluster's claims: the UIDs are random.
fn secret(config: &PlaneConfig, claim: &AddressClaim) -> [u8; 32] {
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    hash(&["mapping nonce", config.identity_seed(), &config.plane, uid])
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

const fn port(protocol: ForwardProtocol, number: u16) -> Port {
    let transport = match protocol {
        ForwardProtocol::Tcp => Transport::Tcp,
        ForwardProtocol::Udp => Transport::Udp,
    };
    Port { transport, number }
}

const fn protocol(of: GatewayProtocol) -> Protocol {
    match of {
        GatewayProtocol::UPnP => Protocol::Igd,
        GatewayProtocol::Pcp => Protocol::Pcp,
        GatewayProtocol::NatPmp => Protocol::NatPmp,
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{ClaimLease, ClaimRoute, fixtures};
    use ipnet::Ipv4Net;
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::{
        fixtures::{by_name, leased},
        routers::router,
    };

    #[test]
    fn only_claims_that_this_node_announces_are_asked_for() {
        let all = of_all([
            ("a", json!({"lease": 3600, "ports": [wish(443, 8443)]}), json!(null)),
            ("b", json!({"lease": 3600, "ports": [wish(443, 9443)]}), json!(null)),
            ("c", json!(null), json!(null)),
        ]);
        let announced = BTreeMap::from([
            ([203, 0, 113, 50].into(), Arc::from("a")),
            ([203, 0, 113, 52].into(), Arc::from("c")),
        ]);
        let wanted = claims(&configured(), &all, &announced);
        assert_eq!(wanted.keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
        let a = &wanted["a"];
        assert_eq!(a.address, Ipv4Addr::new(203, 0, 113, 50));
        assert_eq!(a.ports, BTreeMap::from([(port(ForwardProtocol::Tcp, 443), 8443)]));
        assert_eq!((a.lease, a.ending), (Some(Duration::from_secs(3_600)), false));
    }

    #[test]
    fn what_a_claim_has_had_at_the_gateway_is_told_also_when_it_wants_nothing_any_more() {
        let all = of_all([("a", json!(null), json!([had(443, 8443)]))]);
        let announced = BTreeMap::from([([203, 0, 113, 50].into(), Arc::from("a"))]);
        let wanted = &claims(&configured(), &all, &announced)["a"];
        assert_eq!(wanted.ports.len(), 0);
        assert_eq!(wanted.had, BTreeMap::from([(port(ForwardProtocol::Tcp, 443), 8443)]));
    }

    #[test]
    fn a_port_is_the_claim_s_that_has_it_and_else_the_oldest_one_s() {
        let all = of_all([
            ("a", json!({"lease": 0, "ports": [wish(443, 8443), wish(80, 8080)]}), json!(null)),
            ("b", json!({"lease": 0, "ports": [wish(443, 8443), wish(80, 8080)]}), json!([had(443, 8443)])),
        ]);
        let reserved = plane(&configured(), &all).reserved;
        let of = |external| &*reserved[&port(ForwardProtocol::Tcp, external)];
        assert_eq!((of(8443), of(8080)), ("b", "a"));
    }

    #[test]
    fn a_mapping_says_whose_it_is_in_few_characters() {
        let long = "x".repeat(60);
        let all = of_all([("a", json!(null), json!(null)), (&long, json!(null), json!(null))]);
        let config = configured();
        let short = description(&config, &all["a"]);
        assert!(short.starts_with(&prefix(&config)) && short.ends_with(" default/a"), "{short}");
        assert_eq!(prefix(&config).len(), 17);
        assert_eq!(description(&config, &all[&long]).len(), DESCRIPTION);
        let other = PlaneConfig { plane: "red".into(), ..configured() };
        assert_ne!(prefix(&config), prefix(&other));
        assert_ne!(secret(&config, &all["a"]), secret(&other, &all["a"]));
    }

    #[test]
    fn a_copy_of_the_cluster_does_not_take_the_originals_mappings() {
        let all = of_all([("a", json!(null), json!(null))]);
        let mut copy = configured();
        copy.dhcp.identity_seed = "drill".into();
        assert_ne!(prefix(&configured()), prefix(&copy));
        assert_ne!(secret(&configured(), &all["a"]), secret(&copy, &all["a"]));
    }

    #[test]
    fn the_gateway_is_the_plane_s_or_the_router_that_most_leases_name() {
        let by = |router: u8| ClaimLease {
            routers: vec![[203, 0, 113, router].into()],
            ..fixtures::lease([203, 0, 113, 50])
        };
        let everywhere = ClaimRoute { destination: Ipv4Net::default(), gateway: [203, 0, 113, 1].into() };
        let all = by_name([
            leased("a", by(9)),
            leased("b", by(1)),
            leased("c", ClaimLease { routes: vec![everywhere], ..by(9) }),
        ]);
        let asked = |config: &PlaneConfig, claims: &_| gateway(config, router(config, claims));
        assert_eq!(asked(&configured(), &all), Some([203, 0, 113, 1].into()));
        let mut named = configured();
        named.port_forwarding.as_mut().unwrap().gateway = Some([203, 0, 113, 7].into());
        assert_eq!(asked(&named, &all), Some([203, 0, 113, 7].into()));
        assert_eq!(asked(&configured(), &BTreeMap::new()), None);
    }

    fn wish(port: u16, external: u16) -> Value {
        json!({"protocol": "TCP", "port": port, "externalPort": external})
    }

    fn had(port: u16, external: u16) -> Value {
        json!({"protocol": "TCP", "port": port, "externalPort": external})
    }

    fn configured() -> PlaneConfig {
        let forwarding =
            json!({"protocols": ["UPnP"], "whenTaken": "Refuse", "externalPorts": ["1024-65535"]});
        PlaneConfig { port_forwarding: Some(from_value(forwarding).unwrap()), ..fixtures::config() }
    }

    /// Claims by name, with their `spec.forwarding` and their `status.forwards`.
    fn of_all<const N: usize>(all: [(&str, Value, Value); N]) -> BTreeMap<String, Arc<AddressClaim>> {
        by_name(all.map(|(name, forwarding, forwards)| {
            let mut claim = fixtures::claim(name);
            claim.spec.forwarding = from_value(forwarding).unwrap();
            claim.status =
                (!forwards.is_null()).then(|| from_value(json!({ "forwards": forwards })).unwrap());
            claim
        }))
    }
}
