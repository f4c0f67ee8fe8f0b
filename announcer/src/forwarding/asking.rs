//! The task that asks the gateway.

use std::{future::pending, net::Ipv4Addr, sync::Arc, time::Duration};

use foghorn_gateway::{Listener, Speaker};
use foghorn_netio::clock;
use foghorn_portmap::{Answer, Config, Fault, Input, Machine, Notice, Output, Report, Request};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tracing::{debug, info, warn};

use super::{ForwardingMetrics, Wanted};
use crate::report::Permit;

/// Without anything to wait for.
const IDLE: Duration = Duration::from_secs(3_600);

type Answered = (Speaker, u64, Result<Answer, Fault>);

/// Asks the gateway what the machine wants to know, and tells what came of each claim's ports. Ends when nobody wants anything
/// any more.
pub async fn ask(
    mut wanted: watch::Receiver<Wanted>,
    reports: mpsc::Sender<(Arc<str>, Report)>,
    permit: Permit,
    rng: StdRng,
    metrics: ForwardingMetrics,
) {
    let config = Config { protocols: Vec::new(), another: false, ports: Vec::new() };
    let mut task = Task {
        machine: Machine::new(config, rng),
        interface: None,
        gateway: None,
        speaker: None,
        listener: None,
        asking: None,
        permit,
        metrics,
    };
    loop {
        while let Some(output) = task.machine.poll_output() {
            match output {
                Output::Ask(request) => task.ask(request),
                Output::Report(claim, report) => {
                    debug!(%claim, ?report, "ports at the gateway");
                    if reports.send((claim, report)).await.is_err() {
                        return;
                    }
                }
            }
        }
        let due = task.machine.poll_timeout().map_or(IDLE, |(due, _)| due.saturating_since(clock::now()));
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = wanted.borrow_and_update().clone();
                task.want(wanted);
            }
            (speaker, number, answer) = answered(&mut task.asking) => task.take_answer(speaker, number, answer),
            (from, notice) = heard(&mut task.listener) => task.hear(from, notice),
            () = sleep(due) => task.machine.handle_timeout(clock::now()),
        }
    }
}

struct Task {
    machine: Machine,
    interface: Option<String>,
    gateway: Option<Ipv4Addr>,
    /// Who speaks to the gateway, unless a question is open: then it is there.
    speaker: Option<Speaker>,
    listener: Option<Listener>,
    asking: Option<BoxFuture<'static, Answered>>,
    permit: Permit,
    metrics: ForwardingMetrics,
}

impl Task {
    fn want(&mut self, wanted: Wanted) {
        let now = clock::now();
        if self.interface != wanted.interface {
            self.asking = None;
            self.speaker = wanted.interface.as_deref().map(Speaker::new);
            self.listener = wanted.interface.as_deref().and_then(|name| match Listener::open(name) {
                Ok(listener) => Some(listener),
                Err(error) => {
                    warn!(%error, "it is not heard when the gateway starts anew; it is asked each half minute");
                    None
                }
            });
            self.machine.handle_input(now, Input::Gateway(None));
            self.gateway = None;
            self.interface = wanted.interface;
        }
        if let Some(config) = wanted.config {
            self.machine.handle_input(now, Input::Config(config));
        }
        let gateway = wanted.gateway.filter(|_| self.interface.is_some());
        if self.gateway != gateway {
            self.gateway = gateway;
            info!(
                gateway = gateway.map(tracing::field::display),
                "the gateway that is asked to forward ports"
            );
            // What it was asked is not to be answered by another.
            self.machine.handle_input(now, Input::Gateway(gateway));
        }
        self.machine.handle_input(now, Input::Claims { wanted: wanted.claims, plane: wanted.plane });
    }

    /// Asks, if the claim may be announced by this node: its address is the question's source.
    fn ask(&mut self, request: Request) {
        let number = request.number;
        let may = clock::now() < (self.permit)(&request.claim);
        match self.speaker.take_if(|_| may) {
            Some(mut speaker) => {
                debug!(?request, "the gateway is asked");
                let metrics = self.metrics.clone();
                self.asking = Some(Box::pin(async move {
                    let answer = speaker.ask(&request).await;
                    metrics.asked(&request, &answer);
                    (speaker, number, answer)
                }));
            }
            None => {
                let fault = Fault::NotBound("this node may not announce it now".to_owned());
                self.machine.handle_input(clock::now(), Input::Answered { number, answer: Err(fault) });
            }
        }
    }

    fn take_answer(&mut self, speaker: Speaker, number: u64, answer: Result<Answer, Fault>) {
        debug!(number, ?answer, "the gateway's answer");
        self.asking = None;
        self.speaker = Some(speaker);
        self.machine.handle_input(clock::now(), Input::Answered { number, answer });
    }

    fn hear(&mut self, from: Ipv4Addr, notice: Notice) {
        if Some(from) == self.gateway {
            debug!(?notice, "the gateway says");
            self.machine.handle_input(clock::now(), Input::Heard(notice));
        }
    }
}

async fn answered(asking: &mut Option<BoxFuture<'static, Answered>>) -> Answered {
    match asking {
        Some(asking) => asking.await,
        None => pending().await,
    }
}

async fn heard(listener: &mut Option<Listener>) -> (Ipv4Addr, Notice) {
    match listener {
        Some(listener) => listener.next().await,
        None => pending().await,
    }
}
