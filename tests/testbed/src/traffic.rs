//! What clients see of the addresses while something happens.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread::sleep,
    time::Duration,
};

use foghorn_lab::{Probe, ProbeReport, Result};

use crate::{Cluster, PUBLIC, Service};

/// Between two connections of a client.
const PAUSE: Duration = Duration::from_millis(50);

/// A Service of the test's own plane that is served, when all nodes are the plane's members.
///
/// # Errors
/// If it has no address, or nobody answers there.
pub fn served(cluster: &Cluster) -> Result<(Service<'_>, Ipv4Addr)> {
    let plane = cluster.plane()?;
    cluster.all_members(plane)?;
    let service = cluster.service(&cluster.namespace("shop")?, "web", plane)?;
    let address = service.address()?;
    cluster.get(plane.network, address)?;
    // A node's kube-proxy may know of the address a moment later than the client.
    sleep(Duration::from_secs(1));
    Ok((service, address))
}

/// What a client on the public network sees of the address during `fault`, and two seconds after.
///
/// # Errors
/// Those of `fault`, or if the client cannot ask.
pub fn probed(
    cluster: &Cluster,
    address: Ipv4Addr,
    fault: impl FnOnce() -> Result<()>,
) -> Result<ProbeReport> {
    let reports = all_probed(cluster, &[address], fault)?;
    Ok(reports.into_iter().next().unwrap_or_default())
}

/// [`probed`] with a client for each of the addresses.
///
/// # Errors
/// As [`probed`].
pub fn all_probed(
    cluster: &Cluster,
    addresses: &[Ipv4Addr],
    fault: impl FnOnce() -> Result<()>,
) -> Result<Vec<ProbeReport>> {
    let client = cluster.lab.client(PUBLIC.network);
    let start = |address: &Ipv4Addr| Probe::start(&client, SocketAddr::from((*address, 80)), PAUSE);
    let probes = addresses.iter().map(start).collect::<Result<Vec<_>>>()?;
    sleep(Duration::from_secs(1));
    let result = fault();
    sleep(Duration::from_secs(2));
    let reports = probes.into_iter().map(Probe::finish).collect::<Result<Vec<_>>>()?;
    result.map(|()| reports)
}
