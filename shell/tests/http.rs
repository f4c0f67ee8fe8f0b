//! The servers, asked over real sockets.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_shell::http::{Health, HttpArgs, Server};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let (metrics, _, _) = serve().await;
    let answer = get(metrics, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.contains("foghorn_tests_total 1\n") && answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn readiness_lists_what_is_missing_until_it_is_there() {
    let (_, probes, health) = serve().await;
    assert!(get(probes, "/readyz").await.starts_with("HTTP/1.1 200"));
    health.set("watch addressclaims", false, "no answer yet");
    health.set("interface eth1", true, "");
    let answer = get(probes, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwatch addressclaims: no answer yet\n"), "{answer}");
    health.set("watch addressclaims", true, "");
    assert!(get(probes, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_main_loop_that_no_longer_turns_is_dead_until_it_turns_again() {
    let (_, probes, health) = serve().await;
    MILLIS.fetch_add(5000, Ordering::Relaxed);
    health.beat();
    assert!(get(probes, "/healthz").await.starts_with("HTTP/1.1 200"));
    MILLIS.fetch_add(10_001, Ordering::Relaxed);
    let answer = get(probes, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("the main loop has not turned for 10.0 s\n"), "{answer}");
    health.beat();
    assert!(get(probes, "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_option_to_change_it() {
    let (metrics, _, _) = serve().await;
    let args = HttpArgs { metrics_address: metrics, probe_address: loopback() };
    let message = Server::bind(&args).await.unwrap_err().to_string();
    assert!(message.contains(&metrics.to_string()) && message.contains("--metrics-address"), "{message}");
}

/// The time of the health's clock; only one test reads and moves it.
static MILLIS: AtomicU64 = AtomicU64::new(0);

fn clock() -> Instant {
    Instant::from_boot(Duration::from_millis(MILLIS.load(Ordering::Relaxed)))
}

async fn serve() -> (SocketAddr, SocketAddr, Health) {
    let args = HttpArgs { metrics_address: loopback(), probe_address: loopback() };
    let server = Server::bind(&args).await.unwrap();
    let (metrics, probes) = (server.metrics_address().unwrap(), server.probe_address().unwrap());
    let health = Health::new(clock, Duration::from_secs(10));
    let counter = Counter::<u64>::default();
    counter.inc();
    let mut registry = Registry::default();
    registry.register("foghorn_tests", "Tests", counter);
    tokio::spawn(server.serve(Arc::new(registry), health.clone()));
    (metrics, probes, health)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
