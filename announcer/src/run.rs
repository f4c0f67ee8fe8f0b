//! The loop: waits for news, carries news to the engine and to the plane's members, and does what they want.

mod claims;
mod forwarding;
mod link;
mod node;
mod ownership;

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, PlaneConfig};
use foghorn_heartbeat::Plane;
use foghorn_membership::{Health, MemberId, Seat};
use foghorn_netio::{Link, LinkMonitor, Netlink, clock};
use foghorn_shell::{
    api_clock::ApiClock,
    client,
    http::{self, Server},
    lease_store::LeaseStore,
    shutdown,
};
use futures::StreamExt;
use kube::Client;
use prometheus_client::registry::Registry;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::sleep};
use tracing::{error, info, warn};

pub use self::link::follow_links;
use self::ownership::{PartNews, part_news};
use crate::{
    args::Args,
    datapath::{self, Datapath},
    engine::{Engine, Input},
    events::{Teller, Telling},
    forwarding::{Forwarding, ForwardingMetrics},
    heartbeat::{HeartbeatMetrics, Heartbeats, Setup, keys},
    host_address::Wanted,
    metrics::Metrics,
    ownership::{News, Ownership},
    plane_lease::PlaneLease,
    pod_conditions::{self, PathWatch, PodConditions},
    port::Port,
    proxy::ProxyWatch,
    report::{Permit, Report, Reporter, merged},
    restart::Restart,
    settings,
    snapshot::Fact,
    watch as api,
};

/// A loop that has not turned for so long is dead, for the kubelet.
const STALL: Duration = Duration::from_secs(10);
/// The loop turns at least so often.
const TURN: Duration = Duration::from_secs(1);
/// Routes change without notice; where one decides on the interface it is looked at again. So is by which ways others
/// are heard.
const LOOK: Duration = Duration::from_secs(10);
/// A claim that nobody can have is told so in its status if that lasts. Whoever holds it by then has told so by a
/// greater grant.
const SETTLING: Duration = Duration::from_secs(5);
/// One that hands over is given so long; the machine itself gives up before.
const LEAVING: Duration = Duration::from_secs(8);

/// Runs the announcer until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start, or cannot go on: the kubelet starts it again.
// The runtime is here: if `main` awaited this function, most of this crate would be compiled again for `main`.
#[tokio::main(flavor = "current_thread")]
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stop = shutdown::requested().context("signals cannot be taken over")?;
    let mut registry = Registry::default();
    let counters = Counters {
        metrics: Metrics::register(&mut registry),
        heartbeat: HeartbeatMetrics::register(&mut registry),
        forwarding: ForwardingMetrics::register(&mut registry),
    };
    let api_clock = ApiClock::default();
    let agent = concat!("foghorn-announcer/", env!("CARGO_PKG_VERSION"));
    let client = client::connect(agent, &mut registry, clock::now, api_clock.clone()).await?;
    let health = http::Health::new(clock::now, STALL);
    let server = Server::bind(&args.http)?;
    let serving = server.serve(Arc::new(registry), health.clone());

    let (conditions, told) = watch::channel(PodConditions::new());
    let telling = pod_conditions::tell(client.clone(), args.namespace.clone(), args.pod.clone(), told);
    let announcer = Announcer::new(args, client, counters, health, api_clock, conditions);
    tokio::select! {
        ended = announcer.run(stop) => ended,
        ended = serving => ended.context("metrics and probes are no longer served"),
        () = telling => anyhow::bail!("the Pod's conditions are no longer told"),
    }
}

/// All that is counted.
struct Counters {
    metrics: Metrics,
    heartbeat: HeartbeatMetrics,
    forwarding: ForwardingMetrics,
}

struct Announcer {
    args: Args,
    client: Client,
    rng: StdRng,
    metrics: Metrics,
    heartbeat_metrics: HeartbeatMetrics,
    forwarding_metrics: ForwardingMetrics,
    health: http::Health,
    api_clock: ApiClock,
    conditions: watch::Sender<PodConditions>,
    paths: PathWatch,
    port: Port,
    teller: Teller,
    restart: Restart,
    datapath: Option<Datapath>,
    proxy: ProxyWatch,
    /// What the container that changes the node's network has said last.
    datapath_told: Option<pod_conditions::Telling>,
    /// By which interfaces the node reaches the addresses that other planes choose theirs by.
    reached: datapath::Routes,
    /// Since when something has changed that the node's network may have to change for.
    stirred: Option<Instant>,
    /// The plane's interface, also while it has no carrier.
    last_link: Option<Link>,
    claims: BTreeMap<String, Arc<AddressClaim>>,
    claims_complete: bool,
    config: Option<PlaneConfig>,
    links: Vec<Link>,
    /// How many addresses were announced in the last turn.
    announced: usize,
    part: Option<Part>,
    told_health: Option<Health>,
    /// Claims that were nobody's when that was to be told.
    unassigned: VecDeque<(Instant, Report)>,
    host_addresses: Option<watch::Sender<Wanted>>,
    forwarding: Option<Forwarding>,
}

/// This node's part among the plane's members.
struct Part {
    ownership: Ownership,
    permit: Permit,
    reporter: Reporter,
    lease_name: String,
}

impl Announcer {
    fn new(
        args: Args,
        client: Client,
        counters: Counters,
        health: http::Health,
        api_clock: ApiClock,
        conditions: watch::Sender<PodConditions>,
    ) -> Self {
        let Counters { metrics, heartbeat, forwarding } = counters;
        let mut rng = StdRng::from_os_rng();
        let engine = Engine::new(&args.node, StdRng::seed_from_u64(rng.random()), metrics.clone());
        let teller = Teller::start(client.clone(), &args.pod, clock::now);
        let datapath = args.datapath_socket.clone().map(Datapath::start);
        let restart = Restart::new(args.state.as_deref(), clock::now());
        health.set("configuration", false, "the operator's ConfigMap was not read yet");
        health.set("claims", false, "the plane's claims were not listed yet");
        Self {
            args,
            client,
            rng,
            port: Port::new(engine, metrics.clone()),
            metrics,
            heartbeat_metrics: heartbeat,
            forwarding_metrics: forwarding,
            health,
            api_clock,
            conditions,
            paths: PathWatch::default(),
            teller,
            restart,
            datapath,
            proxy: ProxyWatch::start(),
            datapath_told: None,
            reached: datapath::Routes::new(),
            stirred: None,
            last_link: None,
            claims: BTreeMap::new(),
            claims_complete: false,
            config: None,
            links: Vec::new(),
            announced: 0,
            part: None,
            told_health: None,
            unassigned: VecDeque::new(),
            host_addresses: None,
            forwarding: None,
        }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut stop = pin!(stop);
        let netlink = Netlink::open()?;
        let mut links = follow_links(LinkMonitor::open()?);
        let mut configs = pin!(api::plane_config(self.client.clone(), &self.args.namespace));
        let mut claims = pin!(api::claims(self.client.clone(), &self.args.namespace));
        let mut keys = pin!(keys::follow(self.args.heartbeat_keys.clone()));
        let mut looked = clock::now();
        let mut leaving: Option<Instant> = None;
        loop {
            self.health.beat();
            self.restore(&netlink).await?;
            self.act();
            self.report();
            if self.proxy.ask_for(self.port.engine().waiting_for_proxy()) {
                self.stir();
            }
            let waits = [self.port.idle(), self.restart.remaining(clock::now()), self.collects()];
            let due = waits.into_iter().flatten().fold(TURN, Duration::min);
            tokio::select! {
                () = &mut stop, if leaving.is_none() => {
                    let Some(part) = &self.part else { return Ok(()) };
                    info!(held = part.ownership.held(), "handing over, to end then");
                    part.ownership.leave();
                    leaving = Some(clock::now());
                }
                news = part_news(&mut self.part) => match news {
                    PartNews::Owned(News::Left) => return self.end().await,
                    PartNews::Owned(News::Ended) => anyhow::bail!("the thread of the heartbeats has ended"),
                    PartNews::Owned(news) => self.follow(news),
                    PartNews::Written => {}
                },
                ready = self.port.readable() => {
                    if let Err(error) = ready { warn!(%error, "the packet socket failed"); }
                    self.port.receive(permit(self.part.as_ref()));
                }
                news = links.changed() => {
                    news.context("interfaces are no longer followed")?;
                    self.links = links.borrow_and_update().clone();
                    self.choose_link(&netlink).await;
                }
                Some(config) = configs.next() => match config {
                    Ok(config) => self.take_config(config, &netlink).await?,
                    Err(error) => error!(%error, "the plane's configuration cannot be used"),
                },
                Some(news) = claims.next() => self.take_claim(news),
                Some(telling) = answered(&mut self.datapath) => {
                    self.datapath_told = Some(telling);
                    self.tell_datapath();
                }
                Some((claim, report)) = forwarding::reported(&mut self.forwarding) => self.take_forwarded(&claim, &report),
                proxy = self.proxy.seen() => self.port.tell(Input::Proxy(proxy)),
                Some(keys) = keys.next() => if let Some(part) = &self.part {
                    part.ownership.set_keys(keys);
                },
                () = sleep(due) => {}
            }
            if clock::now() - looked > LOOK {
                looked = clock::now();
                self.choose_link(&netlink).await;
                self.look_at_paths().await;
                self.restart.keep_time(looked, &self.api_clock);
            }
            if leaving.is_some_and(|since| clock::now() - since > LEAVING) {
                warn!("not all was handed over in time");
                return self.end().await;
            }
            self.port.turn();
            self.tell_health();
        }
    }

    /// Falls silent, and ends.
    async fn end(mut self) -> anyhow::Result<()> {
        self.port.detach();
        if let Some(part) = self.part.take() {
            part.ownership.stop().await;
        }
        Ok(())
    }

    /// Does all that the engine wants.
    fn act(&mut self) {
        self.port.act(permit(self.part.as_ref()));
        for report in self.port.reports() {
            self.stir();
            // What is true of a lease is needed after a restart, whether the API server could be told or not.
            let claim = self.claims.get(&report.claim).map(|claim| AddressClaim::clone(claim));
            if let Some(told) = claim.and_then(|claim| merged(claim, &report)) {
                self.restart.keep(Fact::Claim(Arc::new(told)));
            }
            if let Some(part) = &mut self.part {
                part.reporter.push(report);
            }
        }
        for conflict in self.port.conflicts() {
            if let Some(claim) = self.claims.get(&*conflict.claim) {
                self.teller.tell(Telling::foreign_claimant(
                    claim,
                    conflict.address,
                    conflict.mac,
                    conflict.defended,
                ));
            }
        }
        for stranger in self.port.strangers() {
            if let Some(claim) = self.claims.get(&*stranger.claim) {
                self.teller.tell(Telling::stranger(claim, stranger.mac));
            }
        }
    }

    /// Writes what is to be written, and counts. Once a turn is enough: it looks at all claims.
    fn report(&mut self) {
        if let Some(part) = &mut self.part {
            while let Some((_, report)) = self.unassigned.pop_front_if(|(due, _)| *due <= clock::now()) {
                part.reporter.push(report);
            }
            part.reporter.start(&self.claims);
            let standing = part.ownership.standing();
            let announced = self.port.engine().announced();
            self.metrics.stand(&standing, part.ownership.held(), announced);
            // Not each address that goes is reported, or news of the ownership.
            if self.announced != announced {
                self.announced = announced;
                self.stir();
            }
        }
        self.end_forwarded();
        self.want_of_the_node();
    }

    async fn take_config(&mut self, config: PlaneConfig, netlink: &Netlink) -> anyhow::Result<()> {
        if config.plane != self.args.plane {
            error!(found = config.plane, wanted = self.args.plane, "the ConfigMap is another plane's");
            return Ok(());
        }
        if self.config.as_ref() != Some(&config) {
            info!(plane = config.plane, "the plane's configuration is in force");
        }
        self.restart.keep(Fact::Config(Box::new(config.clone())));
        self.port.tell(Input::Config(Box::new(config.clone())));
        match &self.part {
            None => self.part = Some(self.take_part(&config).await?),
            Some(part) if part.lease_name != config.lease_name => {
                anyhow::bail!("the plane's Lease is another one now: {}", config.lease_name);
            }
            Some(part) => part.ownership.set_settings(settings::of(&config)?),
        }
        self.config = Some(config);
        self.stir();
        self.health.set("configuration", true, "");
        self.choose_link(netlink).await;
        Ok(())
    }

    /// Becomes one of the plane's members, or asks to.
    async fn take_part(&mut self, config: &PlaneConfig) -> anyhow::Result<Part> {
        let id = MemberId(self.rng.random());
        let seat = Seat { id, node: self.args.node.clone(), address: self.args.host_ip };
        info!(incarnation = %id, lease = config.lease_name, "taking part in the plane");
        let setup = Setup {
            seat,
            settings: settings::of(config)?,
            plane: Plane::new(&config.cluster_id, &config.plane),
            keys: keys::read(&self.args.heartbeat_keys)?,
            port: self.args.heartbeat_port,
            metrics: self.heartbeat_metrics.clone(),
        };
        let heartbeats = Heartbeats::start(setup).await?;
        let store = LeaseStore::new(self.client.clone(), &self.args.namespace, &config.lease_name);
        let mut ownership = Ownership::new(heartbeats, PlaneLease::new(store));
        for claim in self.claims.values() {
            // Nothing can be granted before this node takes part.
            let _none = ownership.claim(claim);
        }
        ownership.set_link(self.port.link().cloned());
        ownership.set_ready(self.claims_complete);
        self.told_health = None;
        let permit = ownership.permit();
        let reporter = Reporter::new(
            self.client.clone(),
            &self.args.namespace,
            permit.clone(),
            clock::now,
            self.metrics.clone(),
        );
        Ok(Part { ownership, permit, reporter, lease_name: config.lease_name.clone() })
    }
}

async fn answered(datapath: &mut Option<Datapath>) -> Option<pod_conditions::Telling> {
    match datapath {
        Some(datapath) => datapath.answered().await,
        None => pending().await,
    }
}

/// Until when the claim of a name may be announced.
fn permit(part: Option<&Part>) -> impl Fn(&str) -> Instant {
    move |claim| part.map_or(Instant::ZERO, |part| (part.permit)(claim))
}
