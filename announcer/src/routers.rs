//! By which routers the leases of a plane lead to other networks.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use foghorn_crds::{AddressClaim, PlaneConfig};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The router of each network that leases name; where they differ, the one that most of them name.
#[must_use]
pub fn routers(claims: &BTreeMap<String, Arc<AddressClaim>>) -> BTreeMap<IpNet, IpAddr> {
    let mut named: BTreeMap<(IpNet, IpAddr), usize> = BTreeMap::new();
    for lease in claims.values().filter_map(|claim| claim.status.as_ref()?.lease.as_ref()) {
        // RFC 3442: with classless routes the routers do not count.
        let classless =
            lease.routes.iter().map(|route| (route.destination.trunc().into(), route.gateway.into()));
        let router = lease.routers.first().filter(|_| lease.routes.is_empty());
        let default = router.map(|router| default_by((*router).into()));
        for route in classless.chain(default) {
            *named.entry(route).or_default() += 1;
        }
    }
    let mut chosen: BTreeMap<IpNet, (usize, IpAddr)> = BTreeMap::new();
    for ((destination, router), count) in named {
        let best = chosen.entry(destination).or_insert((count, router));
        *best = (*best).max((count, router));
    }
    chosen.into_iter().map(|(destination, (_, router))| (destination, router)).collect()
}

/// All of the router's address family is by that router.
#[must_use]
pub fn default_by(router: IpAddr) -> (IpNet, IpAddr) {
    let everywhere = match router {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    };
    (everywhere, router)
}

/// The router of the plane: the one that its `returnPath` names, or else the one of all networks that leases name.
#[must_use]
pub fn router(config: &PlaneConfig, claims: &BTreeMap<String, Arc<AddressClaim>>) -> Option<Ipv4Addr> {
    let of_path = config.return_path.and_then(|path| path.gateway);
    of_path.or_else(|| match routers(claims).get(&Ipv4Net::default().into())? {
        IpAddr::V4(router) => Some(*router).filter(|router| !router.is_unspecified()),
        IpAddr::V6(_) => None,
    })
}
