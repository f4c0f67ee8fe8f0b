//! The loop that carries news to the engine and does what it wants.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, PlaneConfig, conditions::reasons};
use foghorn_election::{Election, Epoch, Identity, Timings};
use foghorn_membership::{self as membership, Grant};
use foghorn_netio::{Link, LinkMonitor, Netlink, NetlinkError, clock};
use foghorn_shell::{
    api_clock::ApiClock,
    client,
    elect::{Candidacy, Standing},
    http::{Health, Server},
    lease_store::LeaseStore,
    shutdown,
};
use futures::StreamExt;
use kube::Client;
use prometheus_client::registry::Registry;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, time::sleep};
use tracing::{error, info, warn};

use crate::{
    args::Args,
    engine::{ApiTime, Engine, Input},
    interface::Selector,
    metrics::Metrics,
    node::{self, InterfaceCondition},
    port::Port,
    report::Reporter,
    watch::{self as api, ClaimNews},
};

/// A loop that has not turned for so long is dead, for the kubelet.
const STALL: Duration = Duration::from_secs(10);
/// The loop turns at least so often.
const TURN: Duration = Duration::from_secs(1);
/// Routes change without notice; where one decides on the interface it is looked at again.
const ROUTE_CHECK: Duration = Duration::from_secs(10);

/// Runs the announcer until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot start, or cannot go on: the kubelet starts it again.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stop = shutdown::requested().context("signals cannot be taken over")?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let api_clock = ApiClock::default();
    let agent = concat!("foghorn-announcer/", env!("CARGO_PKG_VERSION"));
    let client = client::connect(agent, &mut registry, clock::now, api_clock.clone()).await?;
    let health = Health::new(clock::now, STALL);
    let server = Server::bind(&args.http).await?;
    let serving = server.serve(Arc::new(registry), health.clone());

    let (condition, conditions) = watch::channel(None);
    let telling = node::tell(client.clone(), args.namespace.clone(), args.pod.clone(), conditions);
    let announcer = Announcer::new(args, client, metrics, health, api_clock, condition);
    tokio::select! {
        ended = announcer.run(stop) => ended,
        ended = serving => ended.context("metrics and probes are no longer served"),
        () = telling => anyhow::bail!("the Pod's condition is no longer told"),
    }
}

struct Announcer {
    args: Args,
    client: Client,
    rng: StdRng,
    metrics: Metrics,
    health: Health,
    api_clock: ApiClock,
    condition: watch::Sender<Option<InterfaceCondition>>,
    port: Port,
    claims: BTreeMap<String, Arc<AddressClaim>>,
    claims_complete: bool,
    config: Option<PlaneConfig>,
    links: Vec<Link>,
    election: Option<Elected>,
}

/// This node's part in the election of the plane's owner.
struct Elected {
    candidacy: Candidacy,
    standing: watch::Receiver<Standing>,
    reporter: Reporter,
    eligible: bool,
    /// As the engine knows it: while it lasts, all claims are granted to this node.
    tenure: Option<Epoch>,
    granted: BTreeSet<String>,
}

impl Announcer {
    fn new(
        args: Args,
        client: Client,
        metrics: Metrics,
        health: Health,
        api_clock: ApiClock,
        condition: watch::Sender<Option<InterfaceCondition>>,
    ) -> Self {
        let mut rng = StdRng::from_os_rng();
        let engine = Engine::new(&args.node, StdRng::seed_from_u64(rng.random()), metrics.clone());
        health.set("configuration", false, "the operator's ConfigMap was not read yet");
        health.set("claims", false, "the plane's claims were not listed yet");
        Self {
            args,
            client,
            rng,
            port: Port::new(engine, metrics.clone()),
            metrics,
            health,
            api_clock,
            condition,
            claims: BTreeMap::new(),
            claims_complete: false,
            config: None,
            links: Vec::new(),
            election: None,
        }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut stop = pin!(stop);
        let netlink = Netlink::open()?;
        let mut links = follow_links(LinkMonitor::open()?);
        let mut configs = pin!(api::plane_config(self.client.clone(), &self.args.namespace));
        let mut claims = pin!(api::claims(self.client.clone(), &self.args.namespace));
        let mut route_checked = clock::now();
        loop {
            self.health.beat();
            self.act();
            self.report();
            let due = self.port.idle().map_or(TURN, |idle| idle.min(TURN));
            tokio::select! {
                () = &mut stop => return self.leave().await,
                news = election_news(&mut self.election) => match news {
                    ElectionNews::Standing => self.follow_standing(),
                    ElectionNews::Written => {}
                    ElectionNews::Ended(ended) => {
                        ended.context("the election of the plane's owner has failed")?;
                        anyhow::bail!("the election of the plane's owner has ended");
                    }
                },
                ready = self.port.readable() => {
                    if let Err(error) = ready { warn!(%error, "the packet socket failed"); }
                    self.port.receive(permit(self.election.as_ref()));
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
                () = sleep(due) => {}
            }
            if clock::now() - route_checked > ROUTE_CHECK {
                route_checked = clock::now();
                self.choose_link(&netlink).await;
            }
            self.port.turn();
        }
    }

    /// Falls silent, then lets another node take over at once.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.set_tenure(None);
        self.act();
        if let Some(elected) = self.election.take() {
            elected.candidacy.leave().await.context("the Lease was not given up in order")?;
        }
        Ok(())
    }

    /// Does all that the engine wants.
    fn act(&mut self) {
        self.port.act(permit(self.election.as_ref()));
        let reports = self.port.reports();
        if let Some(elected) = &mut self.election {
            reports.into_iter().for_each(|report| elected.reporter.push(report));
        }
    }

    /// Writes what is to be written, and counts. Once a turn is enough: it looks at all claims.
    fn report(&mut self) {
        if let Some(elected) = &mut self.election {
            elected.reporter.start(&self.claims);
            let holds = elected.standing.borrow().holds(clock::now());
            let engine = self.port.engine();
            self.metrics.ownership(holds, engine.granted(), engine.announced());
        }
    }

    fn take_claim(&mut self, news: ClaimNews) {
        match news {
            ClaimNews::Present(claim) => {
                self.port.tell(Input::Claim(claim.clone()));
                if let Some(name) = claim.metadata.name.clone() {
                    self.grant(&name);
                    self.claims.insert(name, claim);
                }
            }
            ClaimNews::Gone(name) => {
                self.claims.remove(&name);
                self.port.tell(Input::ClaimGone(&name));
            }
            ClaimNews::Complete => {
                self.claims_complete = true;
                self.health.set("claims", true, "");
                self.set_eligible();
            }
        }
    }

    async fn take_config(&mut self, config: PlaneConfig, netlink: &Netlink) -> anyhow::Result<()> {
        if config.plane != self.args.plane {
            error!(found = config.plane, wanted = self.args.plane, "the ConfigMap is another plane's");
            return Ok(());
        }
        let before = self.config.as_ref().map(|config| &config.lease_name);
        let elect_anew = before != Some(&config.lease_name);
        if self.config.as_ref() != Some(&config) {
            info!(plane = config.plane, "the plane's configuration is in force");
        }
        self.port.tell(Input::Config(Box::new(config.clone())));
        self.config = Some(config.clone());
        self.health.set("configuration", true, "");
        if elect_anew {
            self.elect(&config);
        }
        self.choose_link(netlink).await;
        Ok(())
    }

    /// Takes part in the election, by another Lease if there was one before.
    fn elect(&mut self, config: &PlaneConfig) {
        self.set_tenure(None);
        self.act();
        if let Some(before) = self.election.take() {
            tokio::spawn(before.candidacy.leave());
        }
        let identity = Identity::new(&self.args.node, self.rng.random());
        info!(%identity, lease = config.lease_name, "taking part in the election of the plane's owner");
        let store = LeaseStore::new(self.client.clone(), &self.args.namespace, &config.lease_name);
        let election = Election::new(&identity, Timings::PLANE, self.rng.random());
        let candidacy = Candidacy::start(store, election, clock::now);
        let standing = candidacy.standing();
        let of_all = standing.clone();
        let permit = move |_: &str| {
            let standing = *of_all.borrow();
            standing.permit_in(standing.epoch)
        };
        let reporter = Reporter::new(
            self.client.clone(),
            &self.args.namespace,
            Arc::new(permit),
            clock::now,
            self.metrics.clone(),
        );
        let (tenure, granted) = (None, BTreeSet::new());
        self.election = Some(Elected { candidacy, standing, reporter, eligible: false, tenure, granted });
        self.set_eligible();
    }

    fn follow_standing(&mut self) {
        let Some(elected) = &mut self.election else { return };
        let standing = *elected.standing.borrow_and_update();
        let now = clock::now();
        if let (Some(time), Some(measured)) = (self.api_clock.timestamp(now), self.api_clock.measured()) {
            self.port.tell(Input::ApiTime(ApiTime { at: now, time, measured }));
        }
        self.set_tenure(standing.holding.then_some(standing.epoch));
    }

    /// Grants all claims to this node for as long as it holds the Lease.
    fn set_tenure(&mut self, tenure: Option<Epoch>) {
        let Some(elected) = self.election.as_mut().filter(|elected| elected.tenure != tenure) else { return };
        match tenure {
            Some(epoch) => info!(%epoch, claims = self.claims.len(), "this node owns the plane's addresses"),
            None => info!("this node no longer owns the plane's addresses"),
        }
        elected.tenure = tenure;
        for claim in mem::take(&mut elected.granted) {
            self.port.tell(Input::Revoked { claim: &claim });
            elected.reporter.revoke(&claim);
        }
        for claim in self.claims.keys().cloned().collect::<Vec<_>>() {
            self.grant(&claim);
        }
    }

    fn grant(&mut self, claim: &str) {
        let Some(elected) = &mut self.election else { return };
        let Some(Epoch { created, transitions: view }) = elected.tenure else { return };
        if elected.granted.insert(claim.to_owned()) {
            let epoch = membership::Epoch { created, view, quorum: 0 };
            self.port.tell(Input::Granted { claim, grant: Grant { epoch, number: 0 } });
        }
    }

    /// Only a node that could do the work takes part: with the claims known and the interface in working order.
    fn set_eligible(&mut self) {
        let eligible = self.claims_complete && self.port.link().is_some();
        if let Some(elected) = self.election.as_mut().filter(|elected| elected.eligible != eligible) {
            elected.eligible = eligible;
            elected.candidacy.set_eligible(eligible);
        }
    }

    /// Looks which interface is the plane's, and goes over to it.
    async fn choose_link(&mut self, netlink: &Netlink) {
        let Some(config) = &self.config else { return };
        let selector = Selector::new(&config.interface);
        let route = match selector.as_ref().ok().and_then(Selector::can_reach) {
            Some(address) => netlink.route_interface(address).await.unwrap_or_else(|error| {
                warn!(%error, %address, "no route can be looked up");
                None
            }),
            None => None,
        };
        let chosen = selector.and_then(|selector| selector.choose(&self.links, route));
        let chosen = chosen.map_err(|fault| (fault.reason(), fault.to_string()));
        let opened = chosen.and_then(|link| {
            let attached = self.port.attach(&link);
            attached.map_err(|error| (reasons::INTERFACE_DOWN, format!("{}: {error}", link.name)))?;
            Ok(link)
        });
        self.tell_condition(&opened);
        if opened.is_err() {
            self.port.detach();
        }
        self.set_eligible();
    }

    fn tell_condition(&self, opened: &Result<Link, (&'static str, String)>) {
        let condition = match opened {
            Ok(link) => InterfaceCondition {
                ready: true,
                reason: reasons::INTERFACE_READY,
                message: format!("{} is the plane's interface", link.name),
            },
            Err((reason, message)) => InterfaceCondition { ready: false, reason, message: message.clone() },
        };
        self.condition.send_if_modified(|told| {
            if told.as_ref() == Some(&condition) {
                return false;
            }
            if condition.ready {
                info!(message = condition.message, "interface ready");
            } else {
                warn!(reason = condition.reason, message = condition.message, "interface not ready");
            }
            *told = Some(condition.clone());
            true
        });
    }
}

/// The interfaces as they change, followed by a task of its own: a reading that is given up half-way, as often as
/// frames come in, would never end. The sender is gone when they can no longer be followed.
pub fn follow_links(mut monitor: LinkMonitor) -> watch::Receiver<Vec<Link>> {
    let (sender, links) = watch::channel(Vec::new());
    tokio::spawn(async move {
        loop {
            match monitor.next().await {
                Ok(links) => {
                    sender.send_replace(links);
                }
                Err(NetlinkError::Closed) => return,
                Err(error) => {
                    warn!(%error, "interfaces cannot be read, trying again");
                    sleep(TURN).await;
                }
            }
        }
    });
    links
}

enum ElectionNews {
    /// Ownership, or how long it holds, has changed.
    Standing,
    /// A status was written.
    Written,
    /// This node no longer takes part.
    Ended(Result<(), tokio::task::JoinError>),
}

async fn election_news(election: &mut Option<Elected>) -> ElectionNews {
    let Some(Elected { candidacy, standing, reporter, .. }) = election else { return pending().await };
    tokio::select! {
        ended = candidacy.ended() => ElectionNews::Ended(ended),
        Ok(()) = standing.changed() => ElectionNews::Standing,
        () = reporter.finished() => ElectionNews::Written,
    }
}

/// Until when claims may be announced: all the same, in the tenure that the engine knows of.
fn permit(elected: Option<&Elected>) -> impl Fn(&str) -> Instant {
    move |_| {
        let tenure = elected.and_then(|elected| Some((elected, elected.tenure?)));
        tenure.map_or(Instant::ZERO, |(elected, epoch)| elected.standing.borrow().permit_in(epoch))
    }
}
