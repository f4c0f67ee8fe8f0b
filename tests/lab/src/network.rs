//! The namespaces, bridges and cables.

use std::{fmt::Write as _, time::Duration};

use crate::{
    error::{Error, Result},
    host::Host,
    lab::Lab,
    poll::until,
    topology::{Cable, HostSpec, Network, node_number, pod_subnet},
};

/// Makes all hosts of the lab and connects them.
pub(crate) fn create(lab: &Lab) -> Result<()> {
    let switch = lab.switch();
    let specs = lab.specs();
    let hosts: Vec<_> = specs.iter().map(|spec| lab.named(&spec.name)).collect();
    hosts.iter().chain([&switch]).try_for_each(Host::create)?;
    switch.sysctl(vec![("ipv6/conf/default/disable_ipv6", "1"), ("ipv6/conf/all/disable_ipv6", "1")])?;
    let mut batch = String::new();
    for network in Network::ALL {
        line(&mut batch, &format!("link add {} type bridge mcast_snooping 0", network.bridge()));
        line(&mut batch, &format!("link set {} up", network.bridge()));
    }
    specs.iter().zip(&hosts).for_each(|(spec, host)| connect(&mut batch, spec, host));
    switch.ip(&batch)?;
    specs.iter().zip(&hosts).try_for_each(|(spec, host)| configure(spec, host, &specs))
}

/// Takes all of a host's network away and makes it anew, as it was at the start of the lab.
pub(crate) fn create_again(lab: &Lab, host: &Host) -> Result<()> {
    let (switch, specs) = (lab.switch(), lab.specs());
    let spec = specs.iter().find(|spec| spec.name == host.name());
    let Some(spec) = spec else { return Ok(()) };
    host.own_namespace().delete()?;
    // The kernel takes its cables away a moment later.
    until("the cables are gone", Duration::from_secs(10), || {
        let links = switch.exec(&["ip", "-brief", "link", "show", "type", "veth"])?;
        let is_there =
            |cable: &Cable| links.lines().any(|line| line.starts_with(&format!("{}@", cable.port)));
        Ok((!spec.cables.iter().any(is_there)).then_some(()))
    })?;
    host.own_namespace().create()?;
    let mut batch = String::new();
    connect(&mut batch, spec, host);
    switch.ip(&batch)?;
    configure(spec, host, &specs)
}

/// The lines by which the switch gets a host's cables.
fn connect(batch: &mut String, spec: &HostSpec, host: &Host) {
    for cable in &spec.cables {
        let Cable { interface, port, network, .. } = cable;
        let (mac, bridge, namespace) = (cable.mac(), network.bridge(), host.namespace());
        let peer = format!("peer name {interface} address {mac} netns {namespace}");
        line(batch, &format!("link add {port} type veth {peer}"));
        line(batch, &format!("link set {port} master {bridge} up"));
    }
}

fn configure(spec: &HostSpec, host: &Host, all: &[HostSpec]) -> Result<()> {
    let mut settings = vec![
        // An address of the lab is usable at once.
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
    ];
    if spec.forwards {
        settings.push(("ipv4/ip_forward", "1"));
    }
    host.sysctl(settings)?;
    let mut batch = "link set lo up\n".to_owned();
    for cable in &spec.cables {
        line(&mut batch, &format!("addr add {}/24 dev {}", cable.address, cable.interface));
        line(&mut batch, &format!("link set {} up", cable.interface));
    }
    if let Some(gateway) = spec.default_route {
        line(&mut batch, &format!("route add default via {gateway}"));
    }
    if node_number(&spec.name).is_some() {
        for other in all.iter().filter(|other| other.name != spec.name) {
            if let (Some(number), Some(cable)) = (node_number(&other.name), other.cables.first()) {
                line(&mut batch, &format!("route add {} via {}", pod_subnet(number), cable.address));
            }
        }
    }
    host.ip(&batch)
}

/// Connects or disconnects a cable at the switch: the host sees no carrier.
pub(crate) fn set_cable(lab: &Lab, host: &str, network: Network, plugged: bool) -> Result<()> {
    let state = if plugged { "up" } else { "down" };
    lab.switch().exec(&["ip", "link", "set", &port(lab, host, network)?, state]).map(drop)
}

/// The switch's end of a host's cable to a network.
pub(crate) fn port(lab: &Lab, host: &str, network: Network) -> Result<String> {
    let cables = lab.specs().into_iter().find(|spec| spec.name == host).map(|spec| spec.cables);
    let cable = cables.into_iter().flatten().find(|cable| cable.network == network);
    let no_cable = || Error::NoCable { host: host.to_owned(), network: network.name().to_owned() };
    cable.map(|cable| cable.port).ok_or_else(no_cable)
}

/// The switch's ports that are unplugged.
pub(crate) fn unplugged(lab: &Lab) -> Result<Vec<String>> {
    let links = lab.switch().exec(&["ip", "-brief", "link", "show", "type", "veth"])?;
    let down = links.lines().filter(|line| line.split_whitespace().nth(1) == Some("DOWN"));
    Ok(down.filter_map(|line| line.split('@').next()).map(str::to_owned).collect())
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _always = writeln!(text, "{line}");
}
