//! The election of a Lease's holder, run against the API server.

use std::{future::pending, pin::pin};

use foghorn_clock::Instant;
use foghorn_election::{Answer, Election, Epoch, Input, Output, Precondition, Write};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
    time::sleep,
};

use crate::{
    clock::Clock,
    lease_store::{LeaseError, LeaseStore, record},
};

/// How this process stands in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether a tenure of this process is under way.
    pub holding: bool,
    /// Of the tenure, or of the last one.
    pub epoch: Epoch,
    /// Until when this process may act. Compared with a fresh clock before each act; it passes without any news.
    pub permit: Instant,
}

impl Standing {
    /// Whether this process may act at `now`.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        now < self.permit_in(self.epoch)
    }

    /// Until when this process may act in the tenure of that epoch; past (`Instant::ZERO`) if that is not the one under
    /// way. What was begun in an earlier tenure is outdated, even if this process holds again.
    #[must_use]
    pub fn permit_in(&self, epoch: Epoch) -> Instant {
        if self.holding && self.epoch == epoch { self.permit } else { Instant::ZERO }
    }
}

/// This process's part in an election, as a task. Dropped, it leaves in the background.
#[derive(Debug)]
pub struct Candidacy {
    inputs: mpsc::UnboundedSender<Input>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

impl Candidacy {
    /// Takes part in the election of the holder of this Lease; not eligible at first. On a Tokio runtime.
    #[must_use]
    pub fn start(store: LeaseStore, election: Election, clock: Clock) -> Self {
        let (inputs, received) = mpsc::unbounded_channel();
        let (publish, standing) = watch::channel(Standing::default());
        let candidate =
            Candidate { store, election, clock, publish, call: None, answered: None, watched: None };
        Self { inputs, standing, task: tokio::spawn(candidate.run(received)) }
    }

    /// Says whether this process could do the holder's work. One that no longer can gives the Lease up.
    pub fn set_eligible(&self, eligible: bool) {
        // Fails only after the task ended, and its end is told by `ended`.
        let _ = self.inputs.send(Input::Eligible(eligible));
    }

    /// The standing, as it changes.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits for the end of the task. It does not end by itself: the process should not outlive it.
    ///
    /// # Errors
    /// If the task panicked.
    pub async fn ended(&mut self) -> Result<(), JoinError> {
        (&mut self.task).await
    }

    /// Stops acting, and gives the Lease up so that another can take it at once. Takes no longer than some seconds,
    /// even if the API server is away.
    ///
    /// # Errors
    /// If the task panicked.
    pub async fn leave(self) -> Result<(), JoinError> {
        let _ = self.inputs.send(Input::Leave);
        self.task.await
    }
}

type Call = BoxFuture<'static, (u64, Result<Option<Lease>, LeaseError>)>;

struct Candidate {
    store: LeaseStore,
    election: Election,
    clock: Clock,
    publish: watch::Sender<Standing>,
    call: Option<(Call, bool)>,
    /// The Lease as the last answer and the last news of the watch had it: what a write is built on.
    answered: Option<Lease>,
    watched: Option<Lease>,
}

impl Candidate {
    async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let mut watch = pin!(self.store.watch());
        let mut attended = true;
        loop {
            while let Some(output) = self.election.poll_output() {
                if self.carry_out(output) {
                    return;
                }
            }
            let due = self.election.poll_timeout().map(|(at, _)| at - (self.clock)());
            let timeout = async {
                match due {
                    Some(due) => sleep(due).await,
                    None => pending().await,
                }
            };
            let answer = async {
                match &mut self.call {
                    Some((call, _)) => call.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                (number, answer) = answer => self.answer(number, answer),
                input = inputs.recv(), if attended => {
                    attended = input.is_some();
                    self.input(input.unwrap_or(Input::Leave));
                }
                Some(news) = watch.next() => match news {
                    Ok(lease) => {
                        let seen = lease.as_ref().map(record);
                        self.watched = lease;
                        self.input(Input::Observed(seen));
                    }
                    Err(error) => tracing::warn!(lease = %self.store, %error, "the lease cannot be watched"),
                },
                () = timeout => self.election.handle_timeout((self.clock)()),
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.election.handle_input((self.clock)(), input);
    }

    /// Whether that was the last output.
    fn carry_out(&mut self, output: Output) -> bool {
        match output {
            Output::Read { call } => {
                let store = self.store.clone();
                self.call = Some((async move { (call, store.read().await) }.boxed(), false));
            }
            Output::Write { call, write } => self.call = Some((self.write(call, write), true)),
            Output::Holding { epoch, permit } => {
                let standing = Standing { holding: true, epoch, permit };
                let before = self.publish.send_replace(standing);
                if !before.holding || before.epoch != epoch {
                    tracing::info!(lease = %self.store, %epoch, "holding the lease");
                }
            }
            Output::Lost { epoch, reason } => {
                self.publish.send_replace(Standing { holding: false, epoch, permit: Instant::ZERO });
                tracing::info!(lease = %self.store, %epoch, %reason, "no longer holding the lease");
            }
            Output::Left => return true,
        }
        false
    }

    fn write(&self, call: u64, write: Write) -> Call {
        let known = [&self.answered, &self.watched];
        let base = known.into_iter().flatten().find(|lease| is_base(lease, &write)).cloned();
        let store = self.store.clone();
        async move {
            let written = store.write(base, &write, Timestamp::now()).await;
            (call, written.map(Some))
        }
        .boxed()
    }

    fn answer(&mut self, call: u64, answer: Result<Option<Lease>, LeaseError>) {
        let writes = self.call.take().is_some_and(|(_, writes)| writes);
        let answer = match answer {
            Ok(lease) => {
                let seen = lease.as_ref().map(record);
                self.answered = lease;
                match seen {
                    Some(seen) if writes => Answer::Written(seen),
                    seen => Answer::Found(seen),
                }
            }
            Err(LeaseError::Conflict { .. }) => Answer::Conflict,
            Err(error) => {
                tracing::warn!(%error, "the election goes on without an answer");
                Answer::Failed
            }
        };
        self.input(Input::Answered { call, answer });
    }
}

/// Whether the Lease is in the version that the write asks for.
fn is_base(lease: &Lease, write: &Write) -> bool {
    match &write.precondition {
        Precondition::Absent => false,
        Precondition::Version(version) => lease.metadata.resource_version.as_ref() == Some(version),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_permit_of_a_tenure_is_none_for_what_an_earlier_one_began() {
        let earlier = Epoch { created: 1, transitions: 4 };
        let epoch = Epoch { created: 1, transitions: 6 };
        let permit = Instant::from_boot(Duration::from_secs(9));
        let standing = Standing { holding: true, epoch, permit };
        assert_eq!(standing.permit_in(epoch), permit);
        assert_eq!(standing.permit_in(earlier), Instant::ZERO);
        assert_eq!(Standing { holding: false, ..standing }.permit_in(epoch), Instant::ZERO);
    }
}
