//! The HTTP servers: metrics for everybody who may ask, probes for the kubelet.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use foghorn_clock::Instant;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::net::TcpListener;

use crate::clock::Clock;

/// The content type of the OpenMetrics text format 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the probes tell: whether the program's main loop turns, and what it still waits for. Clones share one state.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    stall: Duration,
    state: Arc<Mutex<HealthState>>,
}

#[derive(Debug)]
struct HealthState {
    beat: Instant,
    /// By item, why it is missing; `None` once it is there.
    items: BTreeMap<String, Option<String>>,
}

impl Health {
    /// The health of a program that starts now, and is dead if its main loop does not turn for `stall`.
    #[must_use]
    pub fn new(clock: Clock, stall: Duration) -> Self {
        let state = HealthState { beat: clock(), items: BTreeMap::new() };
        Self { clock, stall, state: Arc::new(Mutex::new(state)) }
    }

    /// To be called with each turn of the main loop.
    pub fn beat(&self) {
        let now = (self.clock)();
        self.state().beat = now;
    }

    /// Whether `item`, as "watch addressclaims", is there, and if not, why. Items never named are not waited for.
    pub fn set(&self, item: &str, ready: bool, why: &str) {
        self.state().items.insert(item.to_owned(), (!ready).then(|| why.to_owned()));
    }

    /// What keeps the main loop from being called alive.
    fn stalled(&self) -> Option<String> {
        let silent = (self.clock)() - self.state().beat;
        (silent > self.stall)
            .then(|| format!("the main loop has not turned for {:.1} s\n", silent.as_secs_f64()))
    }

    fn missing(&self) -> Option<String> {
        let mut lines = String::new();
        for (item, why) in &self.state().items {
            if let Some(why) = why {
                // Writing into a string cannot fail.
                let _ = writeln!(lines, "{item}: {why}");
            }
        }
        (!lines.is_empty()).then_some(lines)
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {source}; give a free port with {option}")]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    option: &'static str,
    source: io::Error,
}

/// The options of a program about its HTTP servers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HttpArgs {
    /// Where /metrics is served
    #[arg(long, env = "FOGHORN_METRICS_ADDRESS", default_value = "[::]:9470")]
    pub metrics_address: SocketAddr,
    /// Where /healthz and /readyz are served
    #[arg(long, env = "FOGHORN_PROBE_ADDRESS", default_value = "127.0.0.1:9471")]
    pub probe_address: SocketAddr,
}

/// Both servers, listening.
#[derive(Debug)]
pub struct Server {
    metrics: TcpListener,
    probes: TcpListener,
}

impl Server {
    /// Listens on both addresses; port 0 is any free one.
    ///
    /// # Errors
    /// If an address is taken or is not this host's.
    pub async fn bind(args: &HttpArgs) -> Result<Self, BindError> {
        Ok(Self {
            metrics: listen(args.metrics_address, "metrics", "--metrics-address").await?,
            probes: listen(args.probe_address, "probes", "--probe-address").await?,
        })
    }

    /// Where metrics are served.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn metrics_address(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// Where probes are served.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn probe_address(&self) -> io::Result<SocketAddr> {
        self.probes.local_addr()
    }

    /// Serves until a server fails.
    ///
    /// # Errors
    /// The failure of either server.
    pub async fn serve(self, registry: Arc<Registry>, health: Health) -> io::Result<()> {
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
        let probes =
            Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health);
        tokio::select! {
            ended = axum::serve(self.metrics, metrics) => ended,
            ended = axum::serve(self.probes, probes) => ended,
        }
    }
}

async fn listen(
    address: SocketAddr,
    purpose: &'static str,
    option: &'static str,
) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, purpose, option, source })
}

#[allow(clippy::unused_async, reason = "axum's handlers are futures")]
async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[allow(clippy::unused_async, reason = "axum's handlers are futures")]
async fn healthz(State(health): State<Health>) -> (StatusCode, String) {
    verdict(health.stalled())
}

#[allow(clippy::unused_async, reason = "axum's handlers are futures")]
async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    verdict(health.missing())
}

fn verdict(complaint: Option<String>) -> (StatusCode, String) {
    match complaint {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(complaint) => (StatusCode::SERVICE_UNAVAILABLE, complaint),
    }
}
