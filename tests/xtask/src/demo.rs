//! `cargo xtask demo`: two planes in a real cluster, from nothing to a Service that survives its node.

mod table;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Config, Error, Lab, LabName, Probe, Result,
    foghorn::{chart, install_chart, set_up, set_up_with},
    steps::{say, step, taking_down},
    topology::{MAX_NODES, Network},
    until,
};
use table::{Row, Table};

use crate::name::Name;

/// The web server, and a Service for it on each plane. The quick start quotes it.
const WEB: &str = include_str!("../demo/web.yaml");
/// The Services in it, with the networks of their planes.
const SERVICES: [(&str, Network); 2] = [("web-public", Network::Public), ("web-private", Network::Private)];
/// The Service whose node loses power.
const VICTIM: (&str, Network) = ("web-public", Network::Public);
/// All waiting here is for things that take seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the demo is to be.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Take the lab down at the end, whatever happened; the exit code says whether all was served
    #[arg(long)]
    exit: bool,
    #[command(flatten)]
    lab: Name,
    /// How many nodes; one of them will lose power
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=i64::from(MAX_NODES)))]
    nodes: u8,
    /// Show these images instead of building release images: archives as `cargo xtask images` prints them
    #[arg(long, value_name = "ARCHIVE")]
    image: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    demo(arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn demo(arguments: &Arguments) -> Result<()> {
    let Arguments { exit, lab: Name { name }, nodes, image } = arguments;
    refuse_a_running_lab(name)?;
    let start = Instant::now();
    let shown = || {
        let config = Config { name: name.clone(), nodes: *nodes, ..Config::default() };
        let lab = if image.is_empty() { set_up(config)? } else { set_up_with(config, image)? };
        show(&lab).inspect_err(|_| tell(&lab))?;
        Ok(lab)
    };
    let took = || say(&format!("\nall was served; the demo took {:.0} s", start.elapsed().as_secs_f32()));
    if *exit {
        taking_down(name, shown)?;
        took();
        return Ok(());
    }
    match shown() {
        Ok(lab) => {
            took();
            step("power for the dead node again", || power_on(&lab))?;
            look_around(name);
            Ok(())
        }
        Err(error) => {
            say(&format!(
                "\nwhat is there of the lab stays; `cargo xtask lab down --name {name}` removes it"
            ));
            Err(error)
        }
    }
}

/// Neither a lab that is in use nor half an hour of building should be lost to a name.
fn refuse_a_running_lab(name: &LabName) -> Result<()> {
    let Ok(hosts) = Lab::open(name).and_then(|lab| lab.status()) else { return Ok(()) };
    if hosts.iter().flat_map(|host| &host.daemons).any(|daemon| daemon.pid.is_none()) {
        say(&format!("the lab `{name}` has crashed: its remains will be removed"));
        return Ok(());
    }
    let why = Error::AlreadyUp(name.clone());
    Err(Error::Config(format!("{why}; `cargo xtask demo --name another` makes a second one")))
}

/// All that there is to see.
fn show(lab: &Lab) -> Result<()> {
    step("helm install: the planes public-prod on eth1 and private-dev on eth0", || install(lab))?;
    let served = step("a web server, and a Service on each plane", || serve(lab))?;
    step("each network's client asks through its address", || {
        SERVICES.into_iter().try_for_each(|(service, network)| ask(lab, network, address(&served, service)?))
    })?;
    let victim = find(&served, VICTIM.0)?;
    step(&format!("{}, which answers for {}, loses power", victim.holder, victim.address), || {
        lose_power(lab, victim)
    })
}

fn install(lab: &Lab) -> Result<()> {
    let values = chart()?.join("examples/two-planes.yaml").display().to_string();
    install_chart(lab, &["--values", &values])?;
    lab.kubectl(&["wait", "--for=condition=Ready", "networkplanes", "--all", "--timeout=60s"])?;
    say(lab.kubectl(&["get", "networkplanes"])?.trim_end());
    Ok(())
}

/// Gives the rows when each Service has its address.
fn serve(lab: &Lab) -> Result<Vec<Row>> {
    lab.apply(WEB)?;
    let mut table = Table::new();
    let served = until("an address for each Service", PATIENCE, || {
        let rows = table.look(lab)?;
        Ok((rows.len() == SERVICES.len() && rows.iter().all(Row::is_served)).then_some(rows))
    })?;
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    Ok(served)
}

fn ask(lab: &Lab, network: Network, address: Ipv4Addr) -> Result<()> {
    let client = lab.client(network);
    let curl = ["curl", "-sS", "--max-time", "2", &format!("http://{address}/")];
    // kube-proxy needs a moment for a new address, and sends some requests to the Pods of a dead node for a while.
    let answer = until(&format!("an answer of {address}"), PATIENCE, || client.exec(&curl).map(Some))?;
    say(&format!("{}: curl http://{address}/ → {}", client.name(), answer.trim()));
    Ok(())
}

/// Cuts the holder's power and shows that another node goes on with the same address.
fn lose_power(lab: &Lab, victim: &Row) -> Result<()> {
    let (service, network) = VICTIM;
    let before = address(std::slice::from_ref(victim), service)?;
    let probe =
        Probe::start(&lab.client(network), SocketAddr::from((before, 80)), Duration::from_millis(20))?;
    thread::sleep(Duration::from_secs(1));
    let mut table = Table::new();
    lab.power_off(&victim.holder)?;
    let moved = until("another holder", PATIENCE, || {
        let rows = table.look(lab)?;
        let moved = |row: &Row| row.is_served() && row.holder != victim.holder;
        Ok(rows.iter().all(moved).then_some(rows))
    })?;
    thread::sleep(Duration::from_secs(2));
    let report = probe.finish()?;
    let after = find(&moved, service)?;
    if address(&moved, service)? != before {
        return Err(Error::Config(format!("the address {before} became {}", after.address)));
    }
    say(&format!(
        "{before} moved from {} to {}; nobody answered for {:.2} s",
        victim.holder,
        after.holder,
        report.longest_gap.as_secs_f32()
    ));
    ask(lab, network, before)
}

fn power_on(lab: &Lab) -> Result<()> {
    lab.nodes().iter().try_for_each(|node| lab.power_on(node.name()))
}

fn find<'a>(rows: &'a [Row], service: &str) -> Result<&'a Row> {
    let found = rows.iter().find(|row| row.service == service);
    found.ok_or_else(|| Error::Config(format!("there is no Service {service}")))
}

fn address(rows: &[Row], service: &str) -> Result<Ipv4Addr> {
    let text = &find(rows, service)?.address;
    let what = || format!("the address `{text}` of Service {service}");
    text.parse().map_err(|_| Error::Malformed { what: what(), why: "it is no IPv4 address".to_owned() })
}

/// Prints what tells why something was not served.
fn tell(lab: &Lab) {
    for args in [
        &["get", "networkplanes,addressclaims,services,nodes", "-A", "-o", "wide"][..],
        &["get", "pods", "-A", "-o", "wide"],
        &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
    ] {
        let said = lab.kubectl(args).unwrap_or_else(|error| error.to_string());
        say(&format!("--- kubectl {}\n{}", args.join(" "), said.trim_end()));
    }
}

fn look_around(name: &LabName) {
    let lab = match name.as_str() {
        LabName::DEFAULT => String::new(),
        name => format!("\n  export {}={name}", LabName::VARIABLE),
    };
    say(&format!(
        "
Look around:{lab}
  cargo xtask kubectl get planes
  cargo xtask kubectl get services,claims --all-namespaces
  cargo xtask kubectl describe service web-public
  cargo xtask lab leases public                 what the DHCP server says
  cargo xtask lab exec client-public -- bash    a shell on a client's network
  cargo xtask lab help                          what can be broken
End it:
  cargo xtask lab down"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_start_quotes_the_manifests() {
        let guide = include_str!("../../../docs/quick-start.md");
        let (deployment, services) = WEB.split_once("---\n").unwrap();
        for quoted in [deployment, services] {
            assert!(
                guide.contains(&format!("```yaml\n{quoted}```\n")),
                "docs/quick-start.md lacks\n{quoted}"
            );
        }
    }
}
