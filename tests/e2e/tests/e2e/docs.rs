//! What the documentation shows is applied, and what it promises comes true.

use std::fs;

use foghorn_lab::{DhcpConfig, Error, topology::Network, until};
use foghorn_testbed::{
    CHART, Cluster, PATIENCE, PRIVATE, PUBLIC, Plane, Result, condition, disturbs_nodes, run, shares_the_lab,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const NAMESPACE: &str = "shop";
/// The plane with all fields.
const SHOP: Plane = Plane { name: "shop", class: "example.com/shop", network: Network::Public };
/// The plane with overrides.
const RESERVED: Plane = Plane { name: "reserved", class: "foghorn.dev/reserved", network: Network::Public };

/// The plane of the page on DHCP.
const REGISTERED: Plane =
    Plane { name: "registered", class: "foghorn.dev/registered", network: Network::Public };

/// The plane of the page on addresses on the nodes.
const ON_NODES: Plane = Plane { name: "on-nodes", class: "foghorn.dev/on-nodes", network: Network::Public };
/// The plane of the page on ports on the gateway, on the network whose gateway forwards ports.
const HOME: Plane = Plane { name: "home", class: "foghorn.dev/home", network: Network::Private };
const APART: Plane = Plane { name: "apart", class: "foghorn.dev/apart", network: Network::Public };

/// A fenced block below `<!-- test: name -->`.
struct Block {
    name: String,
    text: String,
}

#[test]
fn what_the_documentation_shows_works() -> Result<()> {
    run(disturbs_nodes().within(160, "all examples of the documentation, one after the other"), |cluster| {
        let blocks = blocks()?;
        let mut names: Vec<_> = blocks.iter().map(|block| block.name.as_str()).collect();
        println!("{names:?}");
        cluster.lab.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{foghorn-e2e: 'true'}}}}\n"
        ))?;
        // Each is looked at in the order of a reader: the quick start makes the web server that the others are for.
        for name in [
            "web",
            "services",
            "readme-service",
            "plane",
            "plane-with-all-fields",
            "overrides",
            "dhcp",
            "host-address",
            "return-path",
            "port-forwarding",
            "values",
        ] {
            let known = names.iter().position(|known| *known == name);
            let known = known.ok_or_else(|| Error::Config(format!("no block is marked {name}")))?;
            names.remove(known);
            let block = blocks.iter().find(|block| block.name == name);
            let text = block.map(|block| block.text.as_str()).unwrap_or_default();
            println!("{name}");
            match name {
                "web" => web(cluster, text)?,
                "services" => services(cluster, text)?,
                "readme-service" => readme_service(cluster, text)?,
                "plane" => plane(cluster, text)?,
                "plane-with-all-fields" => plane_with_all_fields(cluster, text)?,
                "overrides" => overrides(cluster, text)?,
                "dhcp" => dhcp(cluster, text)?,
                "host-address" => host_address(cluster, text)?,
                "return-path" => return_path(cluster, text)?,
                "port-forwarding" => port_forwarding(cluster, text)?,
                _ => values(cluster, text)?,
            }
        }
        assert!(names.is_empty(), "marked, or marked twice, and not tested: {names:?}");
        // The documentation's Pods have nobody who waits for their end.
        let all = ["-n", NAMESPACE, "delete", "deployments,pods", "--all", "--force", "--grace-period=0"];
        cluster.lab.kubectl(&all).map(drop)
    })
}

#[test]
fn the_plane_in_the_comment_of_the_values_is_taken_by_chart_and_api_server() -> Result<()> {
    run(shares_the_lab().at_most(20), |cluster| {
        let values = read(&format!("{CHART}/values.yaml"))?;
        let example: String = values
            .lines()
            .skip_while(|line| *line != "#   planes:")
            .take_while(|line| line.starts_with("#   "))
            .map(|line| format!("{}\n", &line[4..]))
            .collect();
        assert!(example.contains("allowedSubnets"), "{example}");
        // The Lease of a plane that is there cannot be given another name.
        let example = example.replace("public-prod", "of-the-comment");
        let file = cluster.lab.dir().join("values-of-the-comment.yaml").display().to_string();
        fs::write(&file, example).map_err(|error| Error::Config(format!("{file}: {error}")))?;
        let args = ["upgrade", "foghorn", CHART, "-n", "foghorn-system", "--dry-run=server", "-f", &file];
        let rendered = cluster.lab.helm(&args)?;
        let plane = rendered.split("---\n").find(|part| part.contains("kind: NetworkPlane"));
        let plane = plane.and_then(|part| part.split("\nNOTES:").next()).unwrap_or_default();
        assert!(plane.contains("name: of-the-comment"), "{rendered}");
        let file = write(cluster, "plane-of-the-comment.yaml", plane)?;
        let said = cluster.lab.kubectl(&["apply", "--dry-run=server", "-f", &file])?;
        println!("{said}");
        Ok(())
    })
}

/// A Deployment that gets ready.
fn web(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    cluster.lab.kubectl(&["-n", NAMESPACE, "rollout", "status", "deployment/web", "--timeout=60s"]).map(drop)
}

/// A Service on each plane, that answers to the clients of its network.
fn services(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    for (name, plane) in [("web-public", PUBLIC), ("web-private", PRIVATE)] {
        let address = cluster.existing(NAMESPACE, name, plane).address()?;
        assert!(cluster.get(plane.network, address)?.contains(" on w"));
    }
    Ok(())
}

/// An address, one lease, and one node that answers.
fn readme_service(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    let service = cluster.existing(NAMESPACE, "web", PUBLIC);
    let address = service.address()?;
    assert_eq!(service.leases()?.len(), 1);
    assert_eq!(cluster.who_has(PUBLIC.network, address)?.len(), 1);
    Ok(())
}

/// The plane that the chart has made, in other words.
fn plane(cluster: &Cluster, text: &str) -> Result<()> {
    let spec = || {
        let plane = cluster.lab.kubectl_json(&["get", "networkplane", PUBLIC.name])?;
        Ok::<_, Error>(plane["spec"].clone())
    };
    let before = spec()?;
    apply(cluster, text)?;
    assert_eq!(spec()?, before);
    cluster.wait_ready(PUBLIC.name)
}

/// A plane of its own. Its server gives addresses that the plane allows, then one that it does not.
fn plane_with_all_fields(cluster: &Cluster, text: &str) -> Result<()> {
    let allowed = (Network::Public.address(64), Network::Public.address(127));
    let range = |range| DhcpConfig { range, ..DhcpConfig::of(Network::Public) };
    cluster.lab.dhcp(Network::Public).configure(&range(allowed))?;
    apply(cluster, text)?;
    cluster.wait_ready(SHOP.name)?;
    let lease =
        cluster.lab.kubectl(&["-n", &SHOP.namespace(), "get", "lease", "shop-addresses", "-o", "name"])?;
    assert!(lease.contains("shop-addresses"), "{lease}");
    let inside = cluster.service(NAMESPACE, "inside", SHOP)?.address()?;
    assert!((allowed.0..=allowed.1).contains(&inside), "{inside}");
    assert!(cluster.get(SHOP.network, inside)?.contains(" on w"));
    let outside = range((Network::Public.address(130), Network::Public.address(140)));
    cluster.lab.dhcp(Network::Public).configure(&outside)?;
    let said = cluster.service(NAMESPACE, "outside", SHOP)?.reason("AddressRefused")?;
    println!("{said}");
    cluster.remove_plane(SHOP)
}

/// A Service that is known to the server by what its annotations say, and so gets what is reserved for it.
fn overrides(cluster: &Cluster, text: &str) -> Result<()> {
    let (mac, reserved) = ("02:00:5e:10:00:01", Network::Public.address(60));
    let hosts = vec![format!("{mac},{reserved}")];
    cluster.lab.dhcp(Network::Public).configure(&DhcpConfig { hosts, ..DhcpConfig::of(Network::Public) })?;
    apply(cluster, text)?;
    cluster.wait_ready(RESERVED.name)?;
    let service = cluster.existing(NAMESPACE, "web-reserved", RESERVED);
    assert_eq!(service.address()?, reserved);
    let leases = service.leases()?;
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!((leases[0].mac.as_str(), leases[0].host_name.as_deref()), (mac, Some("www")));
    assert!(cluster.get(RESERVED.network, reserved)?.contains(" on w"));
    cluster.remove_plane(RESERVED)
}

/// A plane whose frames all have the interface's hardware address, and a Service with a domain name.
fn dhcp(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    cluster.wait_ready(REGISTERED.name)?;
    let service = cluster.existing(NAMESPACE, "web-registered", REGISTERED);
    let address = service.address()?;
    let claim = service.claim()?.unwrap_or_default();
    assert_eq!(claim["status"]["identity"]["mode"], "VirtualChaddr", "{claim}");
    let leases = service.leases()?;
    // dnsmasq keeps what is before the first dot.
    assert_eq!(
        leases.first().and_then(|lease| lease.host_name.as_deref()),
        Some("web-registered"),
        "{leases:?}"
    );
    assert!(cluster.get(REGISTERED.network, address)?.contains(" on w"));
    cluster.remove_plane(REGISTERED)
}

/// A plane whose addresses are on the nodes that hold them.
fn host_address(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    cluster.wait_ready(ON_NODES.name)?;
    let service = cluster.existing(NAMESPACE, "web-on-nodes", ON_NODES);
    let address = service.address()?;
    assert!(cluster.get(ON_NODES.network, address)?.contains(" on w"));
    let holder = service.holder()?;
    until("the address on the interface of its holder", PATIENCE, || {
        let nodes: Vec<_> = cluster.on_interfaces(address)?.into_keys().collect();
        Ok((nodes == [holder.as_str()]).then_some(()))
    })?;
    cluster.remove_plane(ON_NODES)
}

/// A plane whose traffic keeps apart from the rest of the node.
fn return_path(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    cluster.wait_ready(APART.name)?;
    let address = cluster.existing(NAMESPACE, "web-apart", APART).address()?;
    println!("{}", cluster.plane_reason(APART, "Datapath", "InForce")?);
    assert!(cluster.get(APART.network, address)?.contains(" on w"));
    cluster.remove_plane(APART)
}

/// A plane whose gateway forwards a port, and a host on the internet that is led to the Service by it.
fn port_forwarding(cluster: &Cluster, text: &str) -> Result<()> {
    apply(cluster, text)?;
    cluster.wait_ready(HOME.name)?;
    let service = cluster.existing(NAMESPACE, "web-home", HOME);
    let address = service.address()?;
    assert!(cluster.get(HOME.network, address)?.contains(" on w"));
    let said = until("the port to be forwarded", PATIENCE, || {
        let object = service.object()?;
        let said = condition(&object, "foghorn.dev/PortsForwarded").filter(|said| said["status"] == "True");
        Ok(said.map(|said| said["message"].as_str().unwrap_or_default().to_owned()))
    })?;
    println!("{said}");
    let internet = cluster.lab.host("inet")?;
    let page = internet.exec(&["curl", "-sS", "--max-time", "10", "http://192.0.2.1:8080/"])?;
    assert!(page.contains(" on w"), "{page}");
    cluster.remove_plane(HOME)
}

/// Values of the chart, which it takes.
fn values(cluster: &Cluster, text: &str) -> Result<()> {
    let file = write(cluster, "values-of-the-documentation.yaml", text)?;
    cluster.upgrade(&file, &[])?;
    let planes = cluster.lab.kubectl(&["get", "networkplanes", "-o", "name"])?;
    let names: Vec<_> = planes.lines().filter_map(|line| line.split('/').nth(1)).collect();
    for name in &names {
        cluster.wait_ready(name)?;
    }
    assert!(text.contains(names.first().copied().unwrap_or("no plane")), "{names:?}");
    cluster.upgrade(&format!("{CHART}/examples/two-planes.yaml"), &[]).map(drop)
}

fn apply(cluster: &Cluster, text: &str) -> Result<()> {
    let file = write(cluster, "documentation.yaml", text)?;
    cluster.lab.kubectl(&["-n", NAMESPACE, "apply", "-f", &file]).map(drop)
}

fn write(cluster: &Cluster, name: &str, text: &str) -> Result<String> {
    let file = cluster.lab.dir().join(name).display().to_string();
    fs::write(&file, text).map_err(|error| Error::Config(format!("{file}: {error}")))?;
    Ok(file)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::Config(format!("{path}: {error}")))
}

/// All marked blocks of the documentation.
fn blocks() -> Result<Vec<Block>> {
    let folder = format!("{ROOT}/docs");
    let entries = fs::read_dir(&folder).map_err(|error| Error::Config(format!("{folder}: {error}")))?;
    let paths = entries.flatten().map(|entry| entry.path().display().to_string());
    let mut paths: Vec<_> = paths.filter(|path| path.ends_with(".md")).collect();
    paths.push(format!("{ROOT}/README.md"));
    let mut found = Vec::new();
    for path in paths {
        let text = read(&path)?;
        for part in text.split("<!-- test: ").skip(1) {
            let block = part.split_once(" -->\n```").and_then(|(name, rest)| {
                let (_, rest) = rest.split_once('\n')?;
                let (text, _) = rest.split_once("\n```")?;
                Some(Block { name: name.to_owned(), text: format!("{text}\n") })
            });
            found.push(block.ok_or_else(|| Error::Config(format!("{path}: no block after {part:.40}")))?);
        }
    }
    Ok(found)
}
