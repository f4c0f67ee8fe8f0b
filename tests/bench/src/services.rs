//! What many Services cost the operator: at its first start, at the next one, when a watch breaks off, and for one change. The
//! operator is the real one; the API server is in memory, so that what is measured is the operator.
#![expect(clippy::indexing_slicing, reason = "a member of an object that is not there reads as null")]

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_crds::{contract, definitions};
use foghorn_lab::{Error, Result, cpu_time, foghorn::root, resident, until};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    api::{Api, Write},
    figures::{self, Case, Figure},
};

const PLANE: &str = "bench";
const CLASS: &str = "bench.foghorn.dev/a";
const CLAIMS: &str = "foghorn.dev/addressclaims";
const LEASES: &str = "coordination.k8s.io/leases";
/// Services of one namespace.
const OF_A_NAMESPACE: u32 = 100;
/// The operator has nothing to do if it took less than [`QUIET_TIME`] in such a time.
const QUIET: Duration = Duration::from_secs(2);
/// Its gauges are counted each second.
const QUIET_TIME: Duration = Duration::from_millis(200);
/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Services, each with a claim
    #[arg(long, value_delimiter = ',', default_values_t = [10_000], value_parser = clap::value_parser!(u32).range(1..=30_000))]
    services: Vec<u32>,
    /// The plane has no limits
    #[arg(long)]
    unlimited: bool,
    /// Print the results as JSON, one object a line that starts with `{`
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let program = build()?;
    let mut sizes = arguments.services.clone();
    sizes.sort_unstable();
    for services in sizes {
        let case = measure(&program, services, !arguments.unlimited)?;
        if arguments.json {
            let settings = Map::from_iter([("limits".to_owned(), json!(!arguments.unlimited))]);
            println!("{}", figures::json("services", "served", &settings, &case));
        } else {
            println!("{}", figures::table(&[case]));
        }
    }
    Ok(())
}

/// Builds the operator as it is released; gives the program.
fn build() -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    let args = [
        "build",
        "--release",
        "--package",
        "foghorn-operator",
        "--message-format",
        "json-render-diagnostics",
    ];
    let output = cargo.args(args).current_dir(root()?).stderr(Stdio::inherit()).output();
    let output = output.map_err(Error::io("running cargo".to_owned()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let messages = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next_back().ok_or_else(|| Error::Config("cargo made no program of foghorn-operator".to_owned()))
}

fn measure(program: &Path, services: u32, has_limits: bool) -> Result<Case> {
    let (api, address) = Api::start().map_err(Error::io("starting the API server".to_owned()))?;
    fill(&api, services, has_limits);
    let all = usize::try_from(services).unwrap_or(usize::MAX);
    let mut leases = Vec::new();
    let mut written = |api: &Api| {
        let writes = api.writes();
        leases.extend(writes.iter().filter(|write| is_election(write)).map(|write| write.at));
        writes.iter().filter(|write| !is_election(write)).count()
    };

    // All is new.
    let kubeconfig = Kubeconfig::write(&format!("http://{address}"))?;
    let operator = Operator::start(program, &kubeconfig.0)?;
    let begun = Instant::now();
    until("a claim for each Service", PATIENCE, || Ok((api.count(CLAIMS, |_| true) == all).then_some(())))?;
    let claimed = begun.elapsed();
    let (claimed_cpu, _) = operator.idle()?;
    written(&api);
    let begun = Instant::now();
    bind(&api, |_| true, 0);
    until("an address for each Service", PATIENCE, || {
        let has_address = |service: &Value| service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string();
        Ok((api.count("services", has_address) == all).then_some(()))
    })?;
    let published = begun.elapsed();
    let (all_cpu, _) = operator.idle()?;
    let memory = resident(operator.pid())? as f64 / 1e6;
    let writes = written(&api);

    // One change.
    let begun = Instant::now();
    let new = Ipv4Addr::from_bits(first_address() + services).to_string();
    bind(&api, |claim| claim["metadata"]["name"] == "tenant-0.web-0.ipv4", services);
    until("the new address", PATIENCE, || {
        let is_new = |service: &Value| service["status"]["loadBalancer"]["ingress"][0]["ip"] == new.as_str();
        Ok((api.count("services", is_new) == 1).then_some(()))
    })?;
    let changed = begun.elapsed();
    written(&api);

    // A watch that has to begin anew.
    let (before, _) = operator.idle()?;
    api.compact();
    let (after, relisted) = operator.idle()?;
    let relist_writes = written(&api);
    drop(operator);

    // The next start.
    let operator = Operator::start(program, &kubeconfig.0)?;
    let (restart_cpu, restarted) = operator.idle()?;
    let restart_writes = written(&api);
    drop(operator);

    let gaps = leases.windows(2).filter_map(|pair| Some(*pair.get(1)? - *pair.first()?));
    let seconds = |time: Duration| time.as_secs_f64();
    Ok(Case {
        claims: all,
        figures: vec![
            Figure::new("claimed_s", "from the operator's start to the last claim", seconds(claimed)),
            Figure::new("claimed_cpu_s", "its processor time until then", seconds(claimed_cpu)),
            Figure::new("published_s", "from all addresses at once to the last status", seconds(published)),
            Figure::new("published_cpu_s", "its processor time for that", seconds(all_cpu - claimed_cpu)),
            Figure::new("published_writes", "writes for that, events among them", writes as f64),
            Figure::new("rss_mb", "its resident memory then", memory),
            Figure::new("change_ms", "from one claim's new address to the status", 1e3 * seconds(changed)),
            Figure::new("relist_s", "from broken watches until it has nothing to do", seconds(relisted)),
            Figure::new("relist_cpu_s", "its processor time for that", seconds(after - before)),
            Figure::new("relist_writes", "writes for that", relist_writes as f64),
            Figure::new("restart_s", "from its next start until it has nothing to do", seconds(restarted)),
            Figure::new("restart_cpu_s", "its processor time for that", seconds(restart_cpu)),
            Figure::new("restart_writes", "writes for that", restart_writes as f64),
            Figure::new(
                "lease_gap_s",
                "the longest time between two writes of its Lease",
                gaps.max().map(seconds),
            ),
        ],
    })
}

fn is_election(write: &Write) -> bool {
    write.key.resource == LEASES && write.key.namespace == "foghorn-system"
}

/// What is there before the operator starts.
fn fill(api: &Api, services: u32, has_limits: bool) {
    for definition in definitions() {
        let mut definition = json!(definition);
        let condition = json!({"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
            "message": "", "lastTransitionTime": now()});
        definition["status"] = json!({"conditions": [condition], "storedVersions": [contract::VERSION],
            "acceptedNames": definition["spec"]["names"]});
        api.put("apiextensions.k8s.io/customresourcedefinitions", definition);
    }
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.put("namespaces", namespace("foghorn-system"));
    (0..services.div_ceil(OF_A_NAMESPACE))
        .for_each(|n| api.put("namespaces", namespace(&format!("tenant-{n}"))));
    let limits = if has_limits {
        json!({"addresses": services, "addressesPerNamespace": services})
    } else {
        json!({})
    };
    api.put(
        "foghorn.dev/networkplanes",
        json!({
            "apiVersion": format!("{}/{}", contract::GROUP, contract::VERSION),
            "kind": "NetworkPlane",
            "metadata": {"name": PLANE},
            "spec": {"loadBalancerClass": CLASS, "interface": {"name": "eth1"}, "limits": limits},
        }),
    );
    for n in 0..services {
        let namespace = format!("tenant-{}", n / OF_A_NAMESPACE);
        api.put(
            "services",
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": format!("web-{n}"), "namespace": namespace},
                "spec": {
                    "type": "LoadBalancer",
                    "loadBalancerClass": CLASS,
                    "loadBalancerIP": "0.0.0.0",
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                },
            }),
        );
    }
}

/// Gives claims addresses, as their announcers would: the first free one, and those that follow.
fn bind(api: &Api, is: impl Fn(&Value) -> bool, first: u32) {
    let claims = api.all(CLAIMS);
    for (n, claim) in (first..).zip(claims.iter().filter(|claim| is(claim))) {
        let address = Ipv4Addr::from_bits(first_address() + n).to_string();
        let mut bound = Value::clone(claim);
        let ready = json!({"type": "Ready", "status": "True", "reason": "Announced", "message": "",
            "lastTransitionTime": now()});
        bound["metadata"]["finalizers"] = json!([contract::CLAIM_FINALIZER]);
        bound["status"] = json!({
            "state": "Bound",
            "address": address,
            "holder": "w1",
            "lease": {"address": address, "server": "198.18.0.1", "prefixLength": 15, "routers": ["198.18.0.1"],
                "acquiredAt": format!("{:.6}", Timestamp::now())},
            "conditions": [ready],
        });
        api.put(CLAIMS, bound);
    }
}

const fn first_address() -> u32 {
    Ipv4Addr::new(198, 18, 1, 0).to_bits()
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

/// The operator, as a process of its own; it ends when this is dropped.
struct Operator(Child);

impl Operator {
    fn start(program: &Path, kubeconfig: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .args([
                "run",
                "--namespace",
                "foghorn-system",
                "--pod-name",
                "bench",
                "--announcer-image",
                "none",
            ])
            .args(["--datapath-image", "none", "--announcer-cluster-role", "none"])
            .args([
                "--metrics-address",
                "127.0.0.1:0",
                "--probe-address",
                "127.0.0.1:0",
                "--log-level",
                "warn",
            ])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null());
        command.spawn().map(Self).map_err(Error::io(format!("running {}", program.display())))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap_or_default()
    }

    /// Waits until it has nothing to do; gives the processor time that it took so far, and how long it had something to do.
    fn idle(&self) -> Result<(Duration, Duration)> {
        let begun = Instant::now();
        loop {
            let before = cpu_time(self.pid())?;
            sleep(QUIET);
            let after = cpu_time(self.pid())?;
            // At its start it waits for its Lease.
            if after - before < QUIET_TIME && begun.elapsed() > 3 * QUIET {
                return Ok((after, begun.elapsed().saturating_sub(QUIET)));
            }
            if begun.elapsed() > PATIENCE {
                return Err(Error::Config(format!("the operator has something to do for {PATIENCE:?}")));
            }
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A file that leads to the API server; it goes when this is dropped.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn write(server: &str) -> Result<Self> {
        let file = std::env::temp_dir().join(format!("foghorn-bench-{}.kubeconfig", std::process::id()));
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "memory", "cluster": {"server": server}}],
            "users": [{"name": "operator", "user": {}}],
            "contexts": [{"name": "memory", "context": {"cluster": "memory", "user": "operator"}}],
            "current-context": "memory",
        });
        fs::write(&file, config.to_string()).map_err(Error::io(format!("writing {}", file.display())))?;
        Ok(Self(file))
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _removed = fs::remove_file(&self.0);
    }
}
