//! Many Services at once on one plane: how long until all have their addresses, what bounds that, what it costs, and what
//! the addresses cost then.

use std::{
    slice,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Config, Lab, Metrics, Result, Wire,
    foghorn::{install_chart, namespace, set_up},
    resident,
    steps::{say, step, taking_down},
    topology::Network,
    until,
};
use serde_json::{Map, Value, json};

use crate::{
    arena::lab_name,
    claims::{Claims, create, now},
    exchanges::Exchanges,
    figures::{self, Case, Figure},
    timeline::Timeline,
    usage::{Programs, Usage},
};

const NODE: &str = "w1";
const NETWORK: Network = Network::Public;
/// The DHCP server has so many addresses.
const MAX_CLAIMS: i64 = 4000;
/// An hour is the lab's usual lease.
const SERVER: &str = "no ping check, dhcp-lease-max=5000, leases of 3600 s";
/// Announcements are repeated for two seconds, reports are late by one.
const SETTLE: Duration = Duration::from_secs(10);
/// Announcements are paced.
const SETTLE_PER_CLAIM: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_PER_CLAIM: Duration = Duration::from_millis(300);

/// What of the plane decides how fast addresses are acquired.
const LIMITS: [&str; 5] = [
    "dhcp.maxPerSecond",
    "dhcp.maxInFlight",
    "dhcp.startJitterMilliseconds",
    "announce.probe",
    "announce.maxPerSecond",
];
const COORDINATING: &str = "foghorn_coordinating";
const MESSAGES: &str = "foghorn_dhcp_messages_total";
const WRITES: &str = "foghorn_status_writes_total";
const REQUESTS: &str = "foghorn_api_requests_total";
const ARP: &str = "foghorn_arp_frames_sent_total";

/// What is acquired, and how fast it may be.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many Services at once, a case each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000], value_parser = clap::value_parser!(u16).range(1..=MAX_CLAIMS))]
    claims: Vec<u16>,
    /// Make all claims while the node's cable is pulled, and count from plugging it in: what kubectl, operator and API
    /// server need to make them does not count then
    #[arg(long)]
    at_once: bool,
    /// The plane's dhcp.maxPerSecond
    #[arg(long)]
    rate: Option<u32>,
    /// The plane's dhcp.maxInFlight
    #[arg(long)]
    in_flight: Option<u32>,
    /// The plane's announce.maxPerSecond: the ARP frames, of which an address takes four at first
    #[arg(long)]
    arp_rate: Option<u32>,
    /// Seconds for which the addresses are only held
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    idle: u64,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = lab_name()?;
    Lab::down(&name)?;
    taking_down(&name, || {
        let lab = set_up(Config { name: name.clone(), nodes: 1, ..Config::default() })?;
        step("a DHCP server with addresses for all, and the chart", || {
            lab.widen(NETWORK)?;
            install_chart(&lab, &[])
        })?;
        let how = if arguments.at_once { "at once" } else { "as they are made" };
        let mut cases: Vec<Case> = Vec::new();
        let ended = arguments.claims.iter().try_for_each(|claims| {
            if let Some(before) = cases.last() {
                clean(&lab, before)?;
            }
            let case = Acquisition { lab: &lab, arguments, claims: (*claims).into() };
            let (settings, case) = step(&format!("claims: {claims}, {how}"), || case.run())?;
            if arguments.json {
                say(&figures::json("acquire", how, &settings, &case));
            } else {
                settings.iter().for_each(|(what, setting)| say(&format!("{what}: {}", text(setting))));
                say(&figures::table(slice::from_ref(&case)));
            }
            cases.push(case);
            Ok(())
        });
        if !arguments.json && cases.len() > 1 {
            say(&format!("\n{}", figures::table(&cases)));
        }
        ended
    })
}

/// One case, with a plane and a namespace of its own.
struct Acquisition<'a> {
    lab: &'a Lab,
    arguments: &'a Arguments,
    claims: usize,
}

impl Acquisition<'_> {
    fn run(&self) -> Result<(Map<String, Value>, Case)> {
        let name = name(self.claims);
        let (settings, port) = self.make_plane(&name)?;
        let programs = Programs::of(self.lab, NODE, &name, &NETWORK.dhcp_host())?;
        let acquired = self.acquire(&name, &programs, port)?;
        sleep(SETTLE + SETTLE_PER_CLAIM * self.count());
        let held = self.hold(&programs, port)?;
        let figures = acquired.into_iter().chain(held).collect();
        Ok((settings, Case { claims: self.claims, figures }))
    }

    /// Makes the plane and waits until a node is there for it; gives the settings that count, and the port of the metrics.
    fn make_plane(&self, name: &str) -> Result<(Map<String, Value>, u64)> {
        let Arguments { rate, in_flight, arp_rate, .. } = self.arguments;
        let dhcp = given([("maxPerSecond", rate), ("maxInFlight", in_flight)]);
        let announce = given([("maxPerSecond", arp_rate)]);
        let plane = json!({
            "apiVersion": "foghorn.dev/v1alpha1",
            "kind": "NetworkPlane",
            "metadata": {"name": name},
            "spec": {
                "loadBalancerClass": class(name), "interface": {"name": "eth1"}, "dhcp": dhcp, "announce": announce,
            },
        });
        self.lab.apply(&plane.to_string())?;
        self.lab.kubectl(&["wait", "--for=condition=Ready", "networkplane", name, "--timeout=60s"])?;
        let (plane, port) = until("a node that owns the plane's addresses", PATIENCE, || {
            let plane = self.lab.kubectl_json(&["get", "networkplane", name])?;
            let port = plane.pointer("/status/ports/metrics").and_then(Value::as_u64);
            let is_held = plane.pointer("/status/coordinator").is_some();
            Ok(port.filter(|_| is_held).map(|port| (plane, port)))
        })?;
        let version = self.lab.dhcp(NETWORK).host().exec(&["dnsmasq", "--version"])?;
        let version: Vec<_> = version.split_whitespace().take(3).collect();
        let limits = LIMITS.map(|limit| {
            let value = plane.pointer(&format!("/spec/{}", limit.replace('.', "/"))).unwrap_or(&Value::Null);
            format!("{limit} {}", text(value))
        });
        let settings = [
            ("server".to_owned(), json!(format!("{}: {SERVER}", version.join(" ")))),
            ("plane".to_owned(), json!(limits.join(", "))),
        ];
        Ok((Map::from_iter(settings), port))
    }

    /// From the first Service to the last address.
    fn acquire(&self, name: &str, programs: &Programs, port: u64) -> Result<Vec<Figure>> {
        let wire = Wire::start(&self.lab.switch(), NETWORK.bridge(), "port 67 or port 68")?;
        let watch = Claims::watch(self.lab, &namespace(name))?;
        if self.arguments.at_once {
            self.lab.unplug(NODE, NETWORK)?;
            until("a node that owns nothing", PATIENCE, || {
                Ok((self.metrics(port)?.count(COORDINATING, &[]) == 0.0).then_some(()))
            })?;
            create(self.lab, name, &class(name), self.claims)?;
            watch.made(self.claims, PATIENCE)?;
        }
        let (metrics, usage) = (self.metrics(port)?, programs.usage()?);
        let began = now();
        let made = if self.arguments.at_once {
            self.lab.plug(NODE, NETWORK)?;
            None
        } else {
            create(self.lab, name, &class(name), self.claims)?;
            Some(now())
        };
        let count = self.count();
        let seen = watch.bound(self.claims, PATIENCE + PATIENCE_PER_CLAIM * count)?;
        let used = programs.usage()?.since(&usage);
        let after = self.metrics(port)?;
        let per_claim = |name: &str| (after.count(name, &[]) - metrics.count(name, &[])) / f64::from(count);
        let timeline = Timeline { began, made, seen, exchanges: Exchanges::of(&wire.lines()) };
        let mut figures = timeline.figures();
        figures.push(Figure::new(
            "messages_per_lease",
            "DHCP messages, sent and received",
            per_claim(MESSAGES),
        ));
        figures.push(Figure::new(
            "writes_per_lease",
            "writes of a claim's status by the announcer",
            per_claim(WRITES),
        ));
        figures.extend(shares(&used, timeline.bound()));
        Ok(figures)
    }

    /// What it takes to have the addresses.
    fn hold(&self, programs: &Programs, port: u64) -> Result<Vec<Figure>> {
        let memory = resident(programs.announcer)?;
        let (metrics, usage, began) = (self.metrics(port)?, programs.usage()?, Instant::now());
        sleep(Duration::from_secs(self.arguments.idle));
        let (used, seconds) = (programs.usage()?.since(&usage), began.elapsed().as_secs_f64());
        let after = self.metrics(port)?;
        let per_second = |name: &str| (after.count(name, &[]) - metrics.count(name, &[])) / seconds;
        let megabytes = memory as f64 / 1e6;
        Ok(vec![
            Figure::new("rss_mb", "the announcer's resident memory, with all addresses", megabytes),
            Figure::new(
                "idle_cpu_percent",
                "its processor time then, of one core",
                100.0 * used.announcer / seconds,
            ),
            Figure::new("idle_api_per_s", "its requests to the API server then", per_second(REQUESTS)),
            Figure::new("idle_arp_per_s", "its ARP frames then", per_second(ARP)),
        ])
    }

    fn count(&self) -> u32 {
        u32::try_from(self.claims).unwrap_or(u32::MAX)
    }

    fn metrics(&self, port: u64) -> Result<Metrics> {
        let node = Network::Private.address(11);
        Metrics::fetch(&self.lab.client(Network::Private), &format!("{node}:{port}"))
    }
}

/// Removes what is there of a case.
fn clean(lab: &Lab, case: &Case) -> Result<()> {
    let name = name(case.claims);
    lab.kubectl(&["delete", "namespace", &name, "--timeout=600s"])?;
    lab.kubectl(&["delete", "networkplane", &name, "--timeout=120s"]).map(drop)
}

/// The name of a case's plane and of the namespace of its Services.
fn name(claims: usize) -> String {
    format!("bench-{claims}")
}

/// The fields that have a value.
fn given<const N: usize>(fields: [(&str, &Option<u32>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!((*value)?)))).collect()
}

/// A value as it is read: a string without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn class(plane: &str) -> String {
    format!("foghorn.dev/{plane}")
}

/// Who used the machine until the last address was there.
fn shares(used: &Usage, bound: Option<f64>) -> [Figure; 6] {
    let share = bound.map(|bound| 100.0 * used.announcer / bound);
    [
        Figure::new("acquire_cpu_s", "the announcer's processor time for all that", used.announcer),
        Figure::new("acquire_cpu_percent", "the same, of one core", share),
        Figure::new("operator_cpu_s", "the operator's", used.operator),
        Figure::new("api_cpu_s", "that of API server and etcd", used.api),
        Figure::new("dhcp_server_cpu_s", "the DHCP server's", used.dhcp_server),
        Figure::new("machine_percent", "all of the machine, by whatever", used.machine_percent()),
    ]
}
