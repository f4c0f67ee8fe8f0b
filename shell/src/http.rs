//! The HTTP servers: metrics for everybody who may ask, probes for the kubelet.
//!
//! Anybody on the network may be able to open connections to them. So they have a thread of their own, which keeps no
//! other work waiting, and [limits](connections).

mod connections;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
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
use tokio::{runtime, sync::oneshot};
use tracing::warn;

pub use self::connections::{HEADER_TIME, MOST_CONNECTIONS, WHOLE_TIME};
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
#[error(
    "cannot listen on {address} for {purpose}: {source}; give an address of this host and a free port with {option}"
)]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    option: &'static str,
    source: io::Error,
}

/// The options of a program about its HTTP servers.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HttpArgs {
    /// Where /metrics is served: address and port, as 192.0.2.11:9470 or, with any address in brackets, [192.0.2.11]:9470
    #[arg(long, env = "FOGHORN_METRICS_ADDRESS", default_value = "[::]:9470", value_parser = socket_address)]
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
    /// Listens on both addresses; port 0 is any free one. Metrics are not worth the program's end: if their address is not
    /// this host's, such as a node's behind NAT, they are served to the host itself only.
    ///
    /// # Errors
    /// If a port is taken, or the probes' address is not this host's.
    pub fn bind(args: &HttpArgs) -> Result<Self, BindError> {
        let metrics = |address| listen(address, "metrics", "--metrics-address");
        Ok(Self {
            metrics: metrics(args.metrics_address).or_else(|error| {
                if error.source.kind() != io::ErrorKind::AddrNotAvailable {
                    return Err(error);
                }
                warn!(%error, "metrics are served on the loopback address only");
                metrics(loopback(args.metrics_address))
            })?,
            probes: listen(args.probe_address, "probes", "--probe-address")?,
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

    /// Serves on a thread of its own, until the future is dropped.
    ///
    /// # Errors
    /// If there is no thread to be had, or it has ended.
    pub async fn serve(self, registry: Arc<Registry>, health: Health) -> io::Result<()> {
        let (_wanted, unwanted) = oneshot::channel::<()>();
        let (ended, end) = oneshot::channel();
        let run = move || {
            let _waiting = ended.send(self.run(registry, health, unwanted));
        };
        thread::Builder::new().name("http".to_owned()).spawn(run)?;
        end.await.unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
    }

    fn run(self, registry: Arc<Registry>, health: Health, unwanted: oneshot::Receiver<()>) -> io::Result<()> {
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
        let probes =
            Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health);
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            // Each has limits of its own: clients of the metrics keep no probe waiting.
            tokio::select! {
                ended = connections::serve(self.metrics, metrics) => ended,
                ended = connections::serve(self.probes, probes) => ended,
                _ = unwanted => Ok(()),
            }
        })
    }
}

fn loopback(address: SocketAddr) -> SocketAddr {
    let loopback = match address {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, address.port())
}

fn listen(
    address: SocketAddr,
    purpose: &'static str,
    option: &'static str,
) -> Result<TcpListener, BindError> {
    let listening = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listening.map_err(|source| BindError { address, purpose, option, source })
}

/// An address and a port. Brackets may be around any address: a template can have them without knowing the family.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let bracketed = || {
        let (address, port) = text.strip_prefix('[')?.rsplit_once("]:")?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
    };
    text.parse()
        .ok()
        .or_else(bracketed)
        .ok_or_else(|| "address and port are wanted, as [192.0.2.11]:9470".to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_may_be_around_any_address() {
        for (text, address) in [
            ("192.0.2.11:17400", "192.0.2.11:17400"),
            ("[192.0.2.11]:17400", "192.0.2.11:17400"),
            ("[2001:db8::11]:17400", "[2001:db8::11]:17400"),
        ] {
            assert_eq!(socket_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for wrong in ["", "192.0.2.11", "[]:1", "[w1]:17400", "[192.0.2.11]:port", "2001:db8::11:17400"] {
            assert!(socket_address(wrong).is_err(), "{wrong}");
        }
    }
}
