//! Ports on the gateway: a Service is reached from the internet, for as long as it is to be, and nothing else is.

use std::{
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{DhcpConfig, EXTERNAL_ADDRESS, Forwards, Gateway, Wire, topology::Network, until};
use foghorn_testbed::{Cluster, PATIENCE, Plane, Result, Service, disturbs_nodes, run};
use serde_json::Value;

const PORTS: Plane = Plane { name: "ports", class: "foghorn.dev/ports", network: Network::Public };
const ANNOTATION: &str = "foghorn.dev/port-forward";
const EXTERNAL_DNS: &str = "external-dns.alpha.kubernetes.io/target";
/// A minute until it is renewed.
const LEASE: &str = "foghorn.dev/port-forward-lease=120";
/// A gateway whose clock has hardly begun cannot be seen to begin again (RFC 6887, 8.5), nor one that starts twice in a second.
const OLDER: Duration = Duration::from_secs(5);

#[test]
fn a_service_is_reached_from_the_internet_also_after_a_fail_over_and_only_while_it_is_to_be() -> Result<()> {
    run(disturbs_nodes(), |cluster| {
        let gateway = cluster.lab.gateway(Network::Public);
        gateway.forward(Forwards::default())?;
        plane(cluster, "portForwarding: {mode: OptIn, externalAddress: Ingress}")?;
        let service = cluster.service(PORTS.name, "web", PORTS)?;
        let address = service.address()?;
        sleep(Duration::from_secs(3));
        assert_eq!(gateway.mappings()?, Vec::<String>::new(), "nobody has asked for it");

        forward(cluster, &service, "8080:80/tcp,5300:80/tcp")?;
        println!("{}", reason(&service, "InvalidForwarding")?);
        forward(cluster, &service, "true")?;
        let refused = reason(&service, "ForwardingNotAllowed")?;
        assert!(refused.contains("1024-65535"), "{refused}");
        forward(cluster, &service, "8080:80/tcp")?;
        println!("{}", reason(&service, "Forwarded")?);
        mapped(&gateway, &[(8080, address)])?;
        assert!(from_internet(cluster, &gateway, 8080)?.contains(" on w"));
        until("the outer address in the Service's status", PATIENCE, || {
            let ingress = service.object()?["status"]["loadBalancer"]["ingress"].clone();
            let outer = EXTERNAL_ADDRESS.to_string();
            Ok((ingress[0]["ip"] == address.to_string() && ingress[1]["ip"] == outer).then_some(()))
        })?;

        let outer = EXTERNAL_ADDRESS.to_string();
        publish(cluster, "ExternalDNS")?;
        until("the outer address for external-dns and not in the status", PATIENCE, || {
            let object = service.object()?;
            let only = object["status"]["loadBalancer"]["ingress"].as_array().map(Vec::len) == Some(1);
            Ok((only && object["metadata"]["annotations"][EXTERNAL_DNS] == outer).then_some(()))
        })?;
        publish(cluster, "None")?;
        until("no annotation for external-dns", PATIENCE, || {
            Ok(service.object()?["metadata"]["annotations"][EXTERNAL_DNS].is_null().then_some(()))
        })?;

        let holder = service.holder()?;
        cluster.lab.power_off(&holder)?;
        let began = Instant::now();
        let next = service.held_by_another(&holder)?;
        assert!(from_internet(cluster, &gateway, 8080)?.contains(" on w"));
        println!("from {holder} to {next}, and reached again after {:.2?}", began.elapsed());
        mapped(&gateway, &[(8080, address)])?;
        cluster.lab.power_on(&holder)?;

        forward(cluster, &service, "8081:80")?;
        mapped(&gateway, &[(8081, address)])?;
        assert!(from_internet(cluster, &gateway, 8081)?.contains(" on w"));
        cluster.lab.kubectl(&["-n", PORTS.name, "annotate", "service", "web", &format!("{ANNOTATION}-")])?;
        mapped(&gateway, &[])?;
        until("the condition is gone", PATIENCE, || Ok(condition(&service)?.is_none().then_some(())))?;
        forward(cluster, &service, "8080:80/tcp")?;
        mapped(&gateway, &[(8080, address)])?;
        service.delete()?;
        service.gone()?;
        mapped(&gateway, &[])?;

        let again = cluster.service(PORTS.name, "again", PORTS)?;
        forward(cluster, &again, "8080:80/tcp")?;
        mapped(&gateway, &[(8080, again.address()?)])?;
        cluster.remove_plane(PORTS)?;
        mapped(&gateway, &[])
    })
}

/// By PCP alone and by UPnP version 2, which is what most real gateways have. The variants, with NAT-PMP and with UPnP version 1 at
/// a gateway that is not secure, are in `tests/interop/tests/interop/mappings.rs`.
#[test]
fn by_pcp_and_by_upnp_a_mapping_lives_its_whole_life_with_few_questions() -> Result<()> {
    run(disturbs_nodes().within(215, "two kinds of gateway, each with a renewal after a minute"), |cluster| {
        let gateway = cluster.lab.gateway(Network::Public);
        plane(cluster, "portForwarding: {mode: OptIn}")?;
        let service = cluster.service(PORTS.name, "web", PORTS)?;
        service.address()?;
        cluster.lab.kubectl(&["-n", PORTS.name, "annotate", "service", "web", LEASE])?;
        for (protocol, how) in [
            ("PCP", Forwards { upnp: false, ..Forwards::default() }),
            ("UPnP", Forwards { pcp: false, ..Forwards::default() }),
        ] {
            println!("--- {protocol} with {how:?}");
            gateway.forward(how)?;
            let patch = format!(r#"{{"spec":{{"portForwarding":{{"protocols":["{protocol}"]}}}}}}"#);
            cluster.patch_plane(PORTS, &patch)?;
            whole_life(cluster, &gateway, &service, protocol, how)?;
        }
        cluster.remove_plane(PORTS)
    })
}

/// Asked for, renewed, forgotten by the gateway, taken over by another node, changed, and given back.
fn whole_life(
    cluster: &Cluster,
    gateway: &Gateway,
    service: &Service<'_>,
    protocol: &str,
    how: Forwards,
) -> Result<()> {
    let address = service.address()?;
    let by_it = |external: u16| -> Result<()> {
        until(&format!("port {external} by {protocol}"), PATIENCE, || {
            let forward = forwards(service)?;
            Ok((forward["by"] == protocol && forward["externalPort"] == external).then_some(()))
        })?;
        // UPnP's list is the only one that it has.
        if how.upnp {
            mapped(gateway, &[(external, address)])?;
        }
        assert!(from_internet(cluster, gateway, external.into())?.contains(" on w"), "{protocol}");
        Ok(())
    };
    forward(cluster, service, "8080:80/tcp")?;
    by_it(8080)?;

    renewed(gateway, service, protocol)?;
    by_it(8080)?;

    sleep(OLDER);
    gateway.forward_none()?;
    gateway.forward(how)?;
    let began = Instant::now();
    until("the table is there again", PATIENCE, || from_internet_once(cluster, gateway, 8080).map(Some))?;
    println!("{protocol}: its table was lost, and there again after {:.1?}", began.elapsed());

    let holder = service.holder()?;
    cluster.lab.power_off(&holder)?;
    service.held_by_another(&holder)?;
    by_it(8080)?;
    cluster.lab.power_on(&holder)?;

    forward(cluster, service, "8081:80/tcp")?;
    by_it(8081)?;
    let closed = |port| {
        until(&format!("port {port} is closed"), PATIENCE, || {
            Ok(from_internet_once(cluster, gateway, port).is_err().then_some(()))
        })
    };
    closed(8080)?;
    cluster.lab.kubectl(&["-n", PORTS.name, "annotate", "service", "web", &format!("{ANNOTATION}-")])?;
    closed(8081)
}

#[test]
fn a_gateway_that_is_away_forgets_or_has_the_port_for_another_is_told_and_no_other_is_touched() -> Result<()>
{
    run(disturbs_nodes().within(65, "three states of a gateway, one after the other"), |cluster| {
        let gateway = cluster.lab.gateway(Network::Public);
        gateway.forward_none()?;
        plane(cluster, "portForwarding: {mode: OptIn}")?;
        let service = cluster.service(PORTS.name, "web", PORTS)?;
        let address = service.address()?;
        forward(cluster, &service, "8080:80/tcp")?;
        println!("{}", reason(&service, "GatewayNotFound")?);
        gateway.forward(Forwards::default())?;
        within_a_minute(&gateway, "it is there now", &[(8080, address)])?;

        sleep(OLDER);
        gateway.forward_none()?;
        gateway.forward(Forwards::default())?;
        within_a_minute(&gateway, "its table was lost", &[(8080, address)])?;

        let other = cluster.service(PORTS.name, "other", PORTS)?;
        forward(cluster, &other, "8080:80/tcp")?;
        let taken = reason(&other, "PortTaken")?;
        assert!(taken.contains("ports.web.ipv4"), "the first one keeps the port: {taken}");

        let client = Network::Public.address(200);
        gateway.upnpc(&["-e", "game console", "-a", &client.to_string(), "9", "8090", "TCP", "0"])?;
        forward(cluster, &other, "8090:80/tcp")?;
        let taken = until("the other host is named", PATIENCE, || {
            Ok(reason(&other, "PortTaken").ok().filter(|message| message.contains("game console")))
        })?;
        println!("{taken}");
        let patch = r#"{"spec":{"portForwarding":{"whenTaken":"Another"}}}"#;
        cluster.patch_plane(PORTS, patch)?;
        println!("{}", until("another port", 2 * PATIENCE, || Ok(reason(&other, "Forwarded").ok()))?);
        let external = forwards(&other)?["externalPort"].as_u64().unwrap_or_default();
        assert!(external >= 1024 && external != 8090, "{external}");
        assert!(from_internet(cluster, &gateway, external)?.contains(" on w"));
        other.delete()?;
        other.gone()?;
        let left = gateway.mappings()?;
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(
            left.iter().any(|left| left.contains(&format!("8090->{client}:9 'game console'"))),
            "{left:?}"
        );
        cluster.remove_plane(PORTS)?;
        assert_eq!(gateway.mappings()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_mapping_follows_the_address_and_what_a_killed_announcer_has_left_is_gone_on_with() -> Result<()> {
    run(disturbs_nodes().within(110, "a lease of 120 s, renewed at another address"), |cluster| {
        let gateway = cluster.lab.gateway(Network::Public);
        gateway.forward(Forwards { secure: false, ..Forwards::default() })?;
        let short = DhcpConfig { lease_seconds: 120, ..DhcpConfig::of(Network::Public) };
        let server = cluster.lab.dhcp(Network::Public);
        server.configure(&short)?;
        plane(cluster, "portForwarding: {mode: OptIn}")?;
        let service = cluster.service(PORTS.name, "web", PORTS)?;
        let address = service.address()?;
        forward(cluster, &service, "8080:80/tcp")?;
        mapped(&gateway, &[(8080, address)])?;

        let holder = service.holder()?;
        cluster.lab.kill_announcer(PORTS.name, &holder)?;
        assert!(from_internet(cluster, &gateway, 8080)?.contains(" on w"));
        sleep(Duration::from_secs(5));
        mapped(&gateway, &[(8080, address)])?;
        assert!(from_internet(cluster, &gateway, 8080)?.contains(" on w"));

        let (first, last) = if address.octets()[3] < 125 { (125, 199) } else { (50, 124) };
        let elsewhere = (Network::Public.address(first), Network::Public.address(last));
        server.configure(&DhcpConfig { range: elsewhere, ..short })?;
        let moved = until("another address", Duration::from_secs(100), || {
            Ok(Some(service.address()?).filter(|moved| *moved != address))
        })?;
        within_a_minute(&gateway, "the address is another one", &[(8080, moved)])?;
        assert!(from_internet(cluster, &gateway, 8080)?.contains(" on w"));
        cluster.remove_plane(PORTS)?;
        mapped(&gateway, &[])
    })
}

/// Waits for a renewal, and counts what is asked until then.
fn renewed(gateway: &Gateway, service: &Service<'_>, protocol: &str) -> Result<()> {
    let first = forwards(service)?["expiresAt"].clone();
    let questions = "(udp and dst port 5351) or (tcp and dst port 5000 and tcp[tcpflags] & tcp-syn != 0)";
    let filter = format!("src {} and ({questions})", service.address()?);
    let wire = Wire::start(gateway.host(), "eth0", &filter)?;
    until("a renewal", Duration::from_secs(75), || {
        Ok((forwards(service)?["expiresAt"] != first).then_some(()))
    })?;
    let asked = wire.lines();
    println!("{protocol}: {} questions in a minute", asked.len());
    assert!(asked.len() <= 5, "two readings and a renewal, and what was under way: {asked:#?}");
    Ok(())
}

/// The plane, ready on all nodes, and a namespace of its name with a web server.
fn plane(cluster: &Cluster, more: &str) -> Result<()> {
    cluster.make_plane(PORTS, more)?;
    cluster.wait_ready(PORTS.name)?;
    cluster.all_members(PORTS)?;
    cluster.namespace(PORTS.name).map(drop)
}

/// Where the outer address is told.
fn publish(cluster: &Cluster, how: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"portForwarding":{{"externalAddress":"{how}"}}}}}}"#);
    cluster.patch_plane(PORTS, &patch)
}

fn forward(cluster: &Cluster, service: &Service<'_>, what: &str) -> Result<()> {
    let annotation = format!("{ANNOTATION}={what}");
    let args = ["-n", PORTS.name, "annotate", "--overwrite", "service", &service.name, &annotation];
    cluster.lab.kubectl(&args).map(drop)
}

/// Waits until these are all the mappings of the gateway, as (its port, the address), each to port 80.
fn mapped(gateway: &Gateway, wanted: &[(u16, Ipv4Addr)]) -> Result<()> {
    wait_mapped(gateway, "what is wanted is forwarded", PATIENCE, wanted).map(drop)
}

fn within_a_minute(gateway: &Gateway, what: &str, wanted: &[(u16, Ipv4Addr)]) -> Result<()> {
    let took = wait_mapped(gateway, what, PATIENCE, wanted)?;
    println!("{what}: forwarded {took:.1?} later");
    Ok(())
}

fn wait_mapped(
    gateway: &Gateway,
    what: &str,
    within: Duration,
    wanted: &[(u16, Ipv4Addr)],
) -> Result<Duration> {
    let began = Instant::now();
    until(what, within, || {
        let mappings = gateway.mappings()?;
        let is_one = |(mapping, (port, address)): (&String, &(u16, Ipv4Addr))| {
            mapping.starts_with(&format!("TCP {port}->{address}:80 'foghorn "))
        };
        let as_wanted = mappings.len() == wanted.len() && mappings.iter().zip(wanted).all(is_one);
        if as_wanted {
            Ok(Some(()))
        } else {
            Err(foghorn_lab::Error::Config(format!("it forwards {mappings:?}")))
        }
    })?;
    Ok(began.elapsed())
}

/// Waits until the Service's condition has that reason, and gives its message.
fn reason(service: &Service<'_>, reason: &str) -> Result<String> {
    until(&format!("reason {reason} on Service {}", service.name), PATIENCE, || {
        let found =
            condition(service)?.ok_or_else(|| foghorn_lab::Error::Config("it has no condition".into()))?;
        if found["reason"] != reason {
            return Err(foghorn_lab::Error::Config(format!(
                "it says {}: {}",
                found["reason"], found["message"]
            )));
        }
        Ok(found["message"].as_str().map(str::to_owned))
    })
}

fn condition(service: &Service<'_>) -> Result<Option<Value>> {
    let conditions = service.object()?["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions.into_iter().find(|condition| condition["type"] == "foghorn.dev/PortsForwarded"))
}

/// What the claim says of its first port.
fn forwards(service: &Service<'_>) -> Result<Value> {
    Ok(service.claim()?.unwrap_or_default()["status"]["forwards"][0].clone())
}

/// What the Service answers to the internet's host at a port of the gateway.
fn from_internet(cluster: &Cluster, gateway: &Gateway, port: u64) -> Result<String> {
    until(&format!("an answer at port {port} of the gateway"), PATIENCE, || {
        from_internet_once(cluster, gateway, port).map(Some)
    })
}

fn from_internet_once(cluster: &Cluster, gateway: &Gateway, port: u64) -> Result<String> {
    let url = format!("http://{}:{port}/", gateway.outside());
    cluster.lab.host("inet")?.exec(&["curl", "-sS", "--max-time", "1", &url])
}
