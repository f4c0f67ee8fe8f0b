//! A node: the engine on a packet socket, in a thread that lives in a host's network namespace.

use std::{fs::File, sync::Mutex, time::Duration};

use foghorn_announcer::{
    engine::{ApiTime, Engine, Input, Proxy},
    interface::Selector,
    metrics::Metrics,
    port::Port,
    run::follow_links,
};
use foghorn_clock::Instant;
use foghorn_crds::PlaneConfig;
use foghorn_lab::Host;
use foghorn_membership::{Epoch, Grant};
use foghorn_netio::{LinkMonitor, clock};
use k8s_openapi::jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::sleep;
use tracing::Level;

use crate::{
    store::{Claims, Store},
    task::{Stop, Task},
};

/// The loop turns at least so often.
const TURN: Duration = Duration::from_secs(1);

/// A node to which all claims are granted. It falls silent when it is dropped, as one that crashes does: nothing is released.
#[derive(Debug)]
pub struct Node(#[expect(dead_code, reason = "it is kept for its end")] Task);

impl Node {
    /// Starts a node on a host. A later `view` is that in which a node takes all claims over.
    #[must_use]
    pub fn start(host: &Host, config: PlaneConfig, store: &Store, view: u32) -> Self {
        let (name, store) = (host.name().to_owned(), store.clone());
        let log = File::create(host.dir().join("node.log")).unwrap();
        Self(Task::start(host, move |stop| async move {
            let log = tracing_subscriber::fmt().with_writer(Mutex::new(log)).with_ansi(false);
            let _log = tracing::subscriber::set_default(log.with_max_level(Level::DEBUG).finish());
            run(&name, config, store, view, stop).await;
        }))
    }

    /// Stops it, and waits until it is silent.
    pub fn stop(self) {}
}

async fn run(name: &str, config: PlaneConfig, store: Store, view: u32, mut stop: Stop) {
    let metrics = Metrics::default();
    let mut port = Port::new(Engine::new(name, StdRng::from_os_rng(), metrics.clone()), metrics);
    let selector = Selector::new(&config.interface).unwrap();
    port.tell(Input::Config(Box::new(config)));
    let now = clock::now();
    port.tell(Input::ApiTime(ApiTime { at: now, time: Timestamp::now(), measured: now }));
    let grant = Grant { epoch: Epoch { created: 1, view, quorum: 0 }, number: 0 };
    let permit = |_: &str| Instant::NEVER;
    let mut links = follow_links(LinkMonitor::open().unwrap());
    let (mut stored, mut told) = (store.follow(), Claims::new());
    stored.mark_changed();
    loop {
        port.act(permit);
        port.reports().into_iter().for_each(|report| store.write(report));
        let idle = port.idle().map_or(TURN, |idle| idle.min(TURN));
        tokio::select! {
            _ = &mut stop => {
                told.keys().for_each(|claim| port.tell(Input::Revoked { claim }));
                port.act(|_| Instant::ZERO);
                return;
            }
            ready = port.readable() => {
                ready.unwrap();
                port.receive(permit);
            }
            news = links.changed() => {
                news.unwrap();
                let links = links.borrow_and_update().clone();
                match selector.choose(&links, None, true) {
                    Ok(link) => port.attach(&link).unwrap(),
                    Err(fault) => {
                        tracing::warn!(%fault, "interface not ready");
                        port.detach();
                    }
                }
            }
            news = stored.changed() => {
                news.unwrap();
                let claims = stored.borrow_and_update().claims.clone();
                tell_changes(&mut port, grant, &told, &claims);
                // A proxy that is told of everything at once.
                let now = clock::now();
                port.tell(Input::Proxy(Proxy::Seen { queued: now, synced: now }));
                told = claims;
            }
            () = sleep(idle) => {}
        }
        port.turn();
    }
}

fn tell_changes(port: &mut Port, grant: Grant, before: &Claims, now: &Claims) {
    for gone in before.keys().filter(|name| !now.contains_key(*name)) {
        port.tell(Input::ClaimGone(gone));
    }
    for (name, claim) in now.iter().filter(|(name, claim)| before.get(*name) != Some(claim)) {
        port.tell(Input::Claim(claim.clone()));
        port.tell(Input::Granted { claim: name, grant });
    }
}
