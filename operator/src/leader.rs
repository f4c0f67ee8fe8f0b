//! Runs the controllers while this process leads, of all operators the only one.

use std::{io, sync::Arc, time::Duration};

use foghorn_clock::Instant;
use foghorn_election::{Election, Identity, Timings};
use foghorn_shell::{
    api_clock::ApiClock,
    client::{self, ClientError},
    clock::boot_time,
    elect::{Candidacy, Standing},
    http::{BindError, Health, HttpArgs, Server},
    lease_store::LeaseStore,
    shutdown,
};
use kube::Client;
use prometheus_client::registry::Registry;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{interval, sleep},
};

use crate::{
    args::Run,
    context::Context,
    definitions::{self, DefinitionError},
    error::Error,
    metrics::Metrics,
    planes, services,
};

/// How often the health and the gauges are looked at.
const BEAT: Duration = Duration::from_secs(1);
/// How often it is looked whether leadership is over. Sleeping itself goes by a clock that stops while the computer is
/// suspended.
const LOOK: Duration = Duration::from_millis(200);
/// Without a beat for so long this process does nothing any longer.
const STALL: Duration = Duration::from_secs(30);
/// Without an answer of the API server for so long this process is not ready: the election asks it each 2 s.
const SILENCE: Duration = Duration::from_secs(15);

/// Why the operator ends without having been asked to. Kubernetes starts it again.
#[derive(Debug, Error)]
pub enum RunError {
    /// There is no way to the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The signals of the process cannot be taken over.
    #[error("signals cannot be taken over: {0}")]
    Signals(#[source] io::Error),
    /// A server for metrics or probes failed.
    #[error("the servers for metrics and probes ended: {0}")]
    Serve(#[source] io::Error),
    /// Nothing is known of the Lease any longer.
    #[error("the election ended: {0}")]
    Election(#[source] tokio::task::JoinError),
    /// Another operator leads now, or may.
    #[error("leadership is lost: ending, so that nothing is done on what was known as a leader")]
    LeadershipLost,
    /// The resources cannot be used.
    #[error(transparent)]
    Definitions(#[from] DefinitionError),
    /// The controllers cannot start.
    #[error(transparent)]
    Controllers(#[from] Error),
    /// Controllers run until the process ends.
    #[error("a controller ended by itself")]
    ControllerEnded,
}

/// Takes part in the election and leads when it is this process's turn, until a signal comes.
///
/// # Errors
/// [`RunError`]: everything else that ends it.
// The runtime is here: if `main` awaited this function, most of this crate would be compiled again for `main`.
#[tokio::main(flavor = "current_thread")]
pub async fn run(options: Run) -> Result<(), RunError> {
    let asked_to_end = shutdown::requested().map_err(RunError::Signals)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let api_clock = ApiClock::default();
    let agent = concat!("foghorn-operator/", env!("CARGO_PKG_VERSION"));
    let client = client::connect(agent, &mut registry, boot_time, api_clock.clone()).await?;
    let health = Health::new(boot_time, STALL);
    health.set(API_SERVER, false, "it has not answered yet");
    let addresses =
        HttpArgs { metrics_address: options.metrics_address, probe_address: options.probe_address };
    let server = Server::bind(&addresses)?;
    let mut candidacy = candidacy(&client, &options);
    let standing = candidacy.standing();
    let ended = tokio::select! {
        () = asked_to_end => Ok(()),
        result = lead(client, options, metrics, standing) => result,
        result = server.serve(Arc::new(registry), health.clone()) => {
            Err(RunError::Serve(result.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())))
        }
        result = candidacy.ended() => match result {
            Ok(()) => Err(RunError::LeadershipLost),
            Err(error) => Err(RunError::Election(error)),
        },
        () = look_after(&health, &api_clock) => Ok(()),
    };
    if matches!(ended, Err(RunError::Election(_))) {
        return ended;
    }
    candidacy.leave().await.map_err(RunError::Election)?;
    ended
}

const API_SERVER: &str = "API server";

fn candidacy(client: &Client, options: &Run) -> Candidacy {
    let mut rng = StdRng::from_os_rng();
    let identity = Identity::new(&options.pod_name, rng.next_u64());
    let store = LeaseStore::new(client.clone(), &options.namespace, &options.lease_name);
    let election = Election::new(&identity, Timings::OPERATOR, rng.next_u64());
    let candidacy = Candidacy::start(store, election, boot_time);
    candidacy.set_eligible(true);
    candidacy
}

/// Waits for leadership, then works until it is lost.
async fn lead(
    client: Client,
    options: Run,
    metrics: Metrics,
    mut standing: watch::Receiver<Standing>,
) -> Result<(), RunError> {
    metrics.leading(false);
    tracing::info!(lease = options.lease_name, namespace = options.namespace, "waiting for leadership");
    if standing.wait_for(|standing| standing.holds(boot_time())).await.is_err() {
        return Err(RunError::LeadershipLost);
    }
    metrics.leading(true);
    tokio::select! {
        () = lost(standing) => Err(RunError::LeadershipLost),
        result = control(client, options, metrics) => result,
    }
}

async fn control(client: Client, options: Run, metrics: Metrics) -> Result<(), RunError> {
    definitions::bring_in(&client).await?;
    let (context, watches) = Context::new(client, options, metrics).await?;
    let context = Arc::new(context);
    tokio::select! {
        () = watches => {}
        () = planes::run(context.clone()) => {}
        () = services::run(context.clone()) => {}
        () = count(&context) => {}
    }
    Err(RunError::ControllerEnded)
}

/// Completes when this process may no longer act as a leader: by the clock that goes on while the computer sleeps.
async fn lost(mut standing: watch::Receiver<Standing>) {
    loop {
        let now: Instant = boot_time();
        let current = *standing.borrow_and_update();
        if !current.holds(now) {
            return;
        }
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return },
            () = sleep((current.permit - now).min(LOOK)) => {}
        }
    }
}

async fn look_after(health: &Health, api_clock: &ApiClock) {
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        health.beat();
        let now = boot_time();
        let answered = api_clock.measured().is_some_and(|answer| now - answer < SILENCE);
        health.set(API_SERVER, answered, "it has not answered for a while");
    }
}

async fn count(context: &Context) {
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        context.metrics.planes(context.planes.store().len());
        let claims = context.claims.store().state_filter(services::is_genuine);
        context.metrics.claims(claims.iter().map(|claim| &**claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leadership_is_lost_when_its_time_is_over_without_any_news() {
        let permit = boot_time() + Duration::from_millis(50);
        let (_sender, standing) = watch::channel(Standing { holding: true, permit, ..Standing::default() });
        lost(standing).await;
        assert!(boot_time() >= permit);
    }

    #[tokio::test]
    async fn leadership_is_lost_at_once_when_the_election_says_so() {
        let permit = boot_time() + Duration::from_secs(3600);
        let (sender, standing) = watch::channel(Standing { holding: true, permit, ..Standing::default() });
        let waiting = tokio::spawn(lost(standing));
        sender.send_replace(Standing::default());
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_renewal_moves_the_end_of_leadership() {
        let start = boot_time();
        let at = |millis| Standing {
            holding: true,
            permit: start + Duration::from_millis(millis),
            ..Standing::default()
        };
        let (sender, standing) = watch::channel(at(50));
        let waiting = tokio::spawn(lost(standing));
        sender.send_replace(at(150));
        waiting.await.unwrap();
        assert!(boot_time() >= start + Duration::from_millis(150));
    }
}
