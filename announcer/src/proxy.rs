//! What the node's kube-proxy says of itself: when it last brought Services to the kernel.

use std::{mem, time::Duration};

use bytes::Bytes;
use foghorn_clock::Instant;
use foghorn_netio::clock;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::engine::Proxy;

/// Where kube-proxy serves its metrics by default (`metricsBindAddress`).
const METRICS: &str = "127.0.0.1:10249";
/// Between two questions while an address waits for the answer.
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of the longest answer.
const LONGEST: usize = 4 * 1024 * 1024;
const QUEUED: &str = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
const SYNCED: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";

/// Asks kube-proxy for as long as an address waits for it.
pub struct ProxyWatch {
    waiting: usize,
    wanted: watch::Sender<bool>,
    seen: watch::Receiver<Proxy>,
    task: JoinHandle<()>,
}

impl ProxyWatch {
    /// Starts it; it asks nothing yet.
    #[must_use]
    pub fn start() -> Self {
        let (wanted, wants) = watch::channel(false);
        let (sees, seen) = watch::channel(Proxy::Unknown);
        Self { waiting: 0, wanted, seen, task: tokio::spawn(follow(wants, sees)) }
    }

    /// Asks while addresses are `waiting`, that many. Gives whether one has stopped to wait: from then on it is answered for.
    pub fn ask_for(&mut self, waiting: usize) -> bool {
        let wanted = waiting > 0;
        self.wanted.send_if_modified(|wants| mem::replace(wants, wanted) != wanted);
        waiting < mem::replace(&mut self.waiting, waiting)
    }

    /// The next answer, or that there is none.
    pub async fn seen(&mut self) -> Proxy {
        // Without the task there is nothing more to see.
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.seen.borrow_and_update()
    }
}

impl Drop for ProxyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut wanted: watch::Receiver<bool>, seen: watch::Sender<Proxy>) {
    while wanted.wait_for(|wanted| *wanted).await.is_ok() {
        let metrics = timeout(PATIENCE, metrics()).await.ok().and_then(Result::ok);
        let read = |text: &str| proxy(text, clock::now(), Timestamp::now());
        seen.send_replace(metrics.as_deref().and_then(read).unwrap_or_default());
        sleep(LOOK).await;
    }
}

async fn metrics() -> anyhow::Result<String> {
    let stream = TcpStream::connect(METRICS).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/metrics").header(header::HOST, METRICS).body(Empty::<Bytes>::new())?;
    let ask = async {
        let response = sender.send_request(request).await?;
        anyhow::ensure!(response.status().is_success(), "kube-proxy answers {}", response.status());
        Limited::new(response.into_body(), LONGEST).collect().await.map_err(anyhow::Error::from_boxed)
    };
    let body = tokio::select! {
        body = ask => body?,
        ended = connection => { ended?; anyhow::bail!("kube-proxy closed the connection") },
    };
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// Reads kube-proxy's metrics; `None` if they are not kube-proxy's.
fn proxy(text: &str, now: Instant, time: Timestamp) -> Option<Proxy> {
    let queued = instant(latest(text, QUEUED)?, now, time)?;
    let synced = instant(latest(text, SYNCED)?, now, time)?;
    Some(Proxy::Seen { queued, synced })
}

/// The value of a metric for IPv4, or without an address family.
fn latest(text: &str, metric: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| line.strip_prefix(metric));
    let mut samples = samples.filter(|rest| rest.starts_with([' ', '{']) && !rest.contains("IPv6"));
    samples.find_map(|rest| rest.rsplit(' ').next()?.parse().ok())
}

/// The instant of a time in seconds since 1970. What lies in the future is now.
fn instant(seconds: f64, now: Instant, time: Timestamp) -> Option<Instant> {
    let stamp = Duration::try_from_secs_f64(seconds).ok()?;
    let today = Duration::try_from(time.as_duration()).ok()?;
    Some(now.saturating_sub(today.saturating_sub(stamp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds [ALPHA] The last time a sync of proxy rules was queued
# TYPE kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 1.7644996000e+09
kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv6\"} 1.7644995990e+09
# TYPE kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1.7644996005e+09
";

    fn moment() -> (Instant, Timestamp) {
        (Instant::ZERO + Duration::from_secs(500), Timestamp::from_second(1_764_499_602).unwrap())
    }

    #[test]
    fn the_times_are_read_from_kube_proxys_metrics() {
        let (now, time) = moment();
        let queued = now.saturating_sub(Duration::from_secs(2));
        let synced = now.saturating_sub(Duration::from_millis(1_500));
        assert_eq!(proxy(TEXT, now, time), Some(Proxy::Seen { queued, synced }));
    }

    #[test]
    fn older_releases_have_no_labels() {
        let text = TEXT.replace("{ip_family=\"IPv4\"}", "");
        let (now, time) = moment();
        assert_eq!(proxy(&text, now, time), proxy(TEXT, now, time));
    }

    #[test]
    fn metrics_of_another_program_say_nothing() {
        let (now, time) = moment();
        assert_eq!(proxy("", now, time), None);
        assert_eq!(proxy(&TEXT.replace("kubeproxy", "other"), now, time), None);
        assert_eq!(proxy(&TEXT.replace("1.7644996000e+09", "NaN"), now, time), None);
    }

    #[test]
    fn a_time_in_the_future_is_now() {
        let (now, time) = moment();
        assert_eq!(instant(4e9, now, time), Some(now));
        assert_eq!(instant(f64::INFINITY, now, time), None);
        assert_eq!(instant(-1.0, now, time), None);
    }
}
