//! Who has which address, as the network shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread,
};

use foghorn_lab::{Error, Result, Wire};

use crate::{Cluster, Plane, Service, cluster::failed};

/// The node that answers for each Service, by the Services' names.
pub type Holders = BTreeMap<String, String>;

impl Cluster {
    /// Makes Services `web-1`, `web-2`, … at once in front of a namespace's web Deployment, and waits for their addresses.
    ///
    /// # Errors
    /// If one gets none.
    pub fn services(&self, namespace: &str, count: usize, plane: Plane) -> Result<Vec<Service<'_>>> {
        let services: Vec<_> =
            (1..=count).map(|number| self.existing(namespace, &format!("web-{number}"), plane)).collect();
        let manifests: Result<String> =
            services.iter().map(|service| service.manifest(Some(plane.class))).collect();
        self.lab.apply(&manifests?)?;
        services.iter().try_for_each(|service| service.address().map(drop))?;
        Ok(services)
    }

    /// The nodes that answer ARP for the Services' addresses.
    ///
    /// # Errors
    /// If nobody answers for one of them, or several do.
    pub fn holders(&self, services: &[Service<'_>]) -> Result<Holders> {
        let holder = |service: &Service<'_>| -> Result<(String, String)> {
            let answers = self.who_has(service.plane.network, service.address()?)?;
            let mut nodes = answers.iter();
            match (nodes.next(), nodes.next()) {
                (Some(node), None) => Ok((service.name.clone(), node.clone())),
                _ => Err(failed(format!("for Service {} answer {answers:?}, not one node", service.name))),
            }
        };
        let panicked = |_| -> Error { failed("a thread that asks ARP panicked") };
        thread::scope(|scope| {
            let asking: Vec<_> =
                services.iter().map(|service| scope.spawn(move || holder(service))).collect();
            asking.into_iter().map(|asked| asked.join().map_err(panicked)?).collect()
        })
    }

    /// The hosts that said on the wire that they have that address.
    #[must_use]
    pub fn claimants(&self, wire: &Wire, address: Ipv4Addr) -> BTreeSet<String> {
        let source = |line: String| line.split_whitespace().nth(1).map(str::to_owned);
        let macs = wire.with(&[&format!("Reply {address} is-at")]).into_iter().filter_map(source);
        macs.map(|mac| self.lab.host_of_mac(&mac).unwrap_or(mac)).collect()
    }
}

/// How many of the Services each node has, the most first; nodes that have none are left out.
#[must_use]
pub fn loads(holders: &Holders) -> Vec<usize> {
    let nodes: BTreeSet<_> = holders.values().collect();
    let load = |node: &String| holders.values().filter(|holder| *holder == node).count();
    let mut loads: Vec<_> = nodes.into_iter().map(load).collect();
    loads.sort_unstable_by(|one, other| other.cmp(one));
    loads
}
