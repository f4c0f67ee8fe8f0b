//! The servers, asked over real sockets.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use foghorn_clock::Instant;
use foghorn_shell::http::{HEADER_TIME, Health, HttpArgs, MOST_CONNECTIONS, Server, WHOLE_TIME};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
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
    let message = Server::bind(&args).unwrap_err().to_string();
    assert!(message.contains(&metrics.to_string()) && message.contains("--metrics-address"), "{message}");
}

#[test]
fn metrics_at_an_address_of_another_host_are_on_loopback() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let args = HttpArgs { metrics_address: elsewhere, probe_address: loopback() };
    let server = Server::bind(&args).unwrap();
    assert!(server.metrics_address().unwrap().ip().is_loopback());
    let args = HttpArgs { metrics_address: loopback(), probe_address: elsewhere };
    assert!(Server::bind(&args).unwrap_err().to_string().contains("--probe-address"));
}

#[tokio::test]
async fn silent_connections_keep_no_other_client_out() {
    let (metrics, probes, _) = serve().await;
    for address in [metrics, probes] {
        let mut silent = Vec::new();
        for _ in 0..3 * MOST_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let path = if address == metrics { "/metrics" } else { "/healthz" };
        let answer = within(SOON, get(address, path)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn so_many_connections_are_open_and_no_more() {
    let (metrics, _, _) = serve().await;
    let mut silent = Vec::new();
    for _ in 0..MOST_CONNECTIONS + 10 {
        silent.push(TcpStream::connect(metrics).await.unwrap());
    }
    // The oldest ones are closed, and no other.
    for stream in &mut silent[..10] {
        assert_eq!(within(SOON, ended(stream)).await, "");
    }
    for stream in &mut silent[10..] {
        assert!(tokio::time::timeout(Duration::from_millis(1), ended(stream)).await.is_err());
    }
}

#[tokio::test]
async fn a_header_that_comes_too_slowly_is_cut() {
    let (metrics, _, _) = serve().await;
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await.unwrap();
    let began = std::time::Instant::now();
    let said = within(HEADER_TIME + SOON, async {
        let slowly = async {
            // Until the other end is gone.
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        slowly.await;
        ended(&mut stream).await
    })
    .await;
    assert!(!said.contains("200 OK"), "{said}");
    assert!(began.elapsed() >= HEADER_TIME);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let (metrics, _, _) = serve_registry(large()).await;
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(WHOLE_TIME + Duration::from_secs(1)).await;
    let mut answer = Vec::new();
    let _reset = within(SOON, stream.read_to_end(&mut answer)).await;
    assert!(!answer.ends_with(b"# EOF\n"), "{} bytes", answer.len());
}

#[tokio::test(flavor = "current_thread")]
async fn metrics_are_served_while_the_main_thread_is_busy() {
    let (metrics, _, _) = serve().await;
    // This blocks the only thread of the test's runtime.
    let answer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(metrics).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.join().unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_servers_end_with_their_future() {
    let (metrics, _, _, serving) = serving(registry()).await;
    assert!(get(metrics, "/metrics").await.starts_with("HTTP/1.1 200"));
    serving.abort();
    within(SOON, async {
        while TcpStream::connect(metrics).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The time of the health's clock; only one test reads and moves it.
static MILLIS: AtomicU64 = AtomicU64::new(0);

fn clock() -> Instant {
    Instant::from_boot(Duration::from_millis(MILLIS.load(Ordering::Relaxed)))
}

/// Long enough for a machine that is busy.
const SOON: Duration = Duration::from_secs(4);

async fn serve() -> (SocketAddr, SocketAddr, Health) {
    serve_registry(registry()).await
}

async fn serve_registry(registry: Registry) -> (SocketAddr, SocketAddr, Health) {
    let (metrics, probes, health, _) = serving(registry).await;
    (metrics, probes, health)
}

async fn serving(registry: Registry) -> (SocketAddr, SocketAddr, Health, JoinHandle<io::Result<()>>) {
    let args = HttpArgs { metrics_address: loopback(), probe_address: loopback() };
    let server = Server::bind(&args).unwrap();
    let (metrics, probes) = (server.metrics_address().unwrap(), server.probe_address().unwrap());
    let health = Health::new(clock, Duration::from_secs(10));
    let serving = tokio::spawn(server.serve(Arc::new(registry), health.clone()));
    // The thread is started when the task is first polled.
    tokio::task::yield_now().await;
    (metrics, probes, health, serving)
}

fn registry() -> Registry {
    let counter = Counter::<u64>::default();
    counter.inc();
    let mut registry = Registry::default();
    registry.register("foghorn_tests", "Tests", counter);
    registry
}

/// More than the kernel buffers for a client that reads nothing.
fn large() -> Registry {
    let mut registry = registry();
    for number in 0..20_000 {
        let help = "x".repeat(1_000);
        registry.register(format!("foghorn_large_{number}"), help, Counter::<u64>::default());
    }
    registry
}

async fn within<T>(time: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(time, future).await.expect("in time")
}

/// What the server says before it closes the connection.
async fn ended(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is an end too.
    let _reset = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
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
