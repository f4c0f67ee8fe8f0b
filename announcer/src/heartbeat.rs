//! Heartbeats on a thread of their own: the membership machine, its two sockets, and nothing that could keep it waiting.
//!
//! What the machine wants of the API server, and what it says, comes out of [`Heartbeats::next`]; what it has to know
//! goes in by [`Heartbeats::tell`]. The right to announce goes neither way: [`Rights`] has it, for whoever is about to
//! send.

pub mod keys;
mod metrics;
mod peers;
mod rights;
mod transport;
mod turn;
mod wire;

use std::{io, sync::Arc, thread};

use foghorn_clock::Instant;
use foghorn_heartbeat::{Codec, FORMATS, Keys, Plane};
use foghorn_membership::{Input, Member, Output, Seat, Settings};
use foghorn_netio::{DatagramError, Link, clock};
use tokio::{
    runtime,
    sync::{
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
};

pub use self::{
    metrics::HeartbeatMetrics,
    peers::{Paths, PathsOf},
    rights::{Rights, Standing},
};
use self::{
    transport::Transport,
    turn::{Command, Turn},
};

/// Why no heartbeats can be sent.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The operating system gives no thread, or no sockets to wait for.
    #[error("the heartbeats have no thread of their own: {0}")]
    Thread(#[source] io::Error),
    /// The UDP port.
    #[error("heartbeats between node addresses: {0}")]
    Udp(#[from] DatagramError),
    /// The thread ended before it began.
    #[error("the thread of the heartbeats has ended at its start")]
    Ended,
}

/// What the heartbeats of a plane's member need to begin.
#[derive(Debug)]
pub struct Setup {
    /// Who the member is.
    pub seat: Seat,
    /// How the plane's members behave.
    pub settings: Settings,
    /// The plane.
    pub plane: Plane,
    /// The plane's keys.
    pub keys: Keys,
    /// The UDP port of all of the plane's announcers.
    pub port: u16,
    /// Where frames are counted.
    pub metrics: HeartbeatMetrics,
}

/// The thread of the heartbeats, as the main loop sees it. It ends, and falls silent, when this is dropped.
#[derive(Debug)]
pub struct Heartbeats {
    commands: UnboundedSender<Command>,
    outputs: UnboundedReceiver<Output<Instant>>,
    rights: Arc<Rights>,
}

impl Heartbeats {
    /// Starts the thread. It is on no interface yet.
    ///
    /// # Errors
    /// If the UDP port is in use, or there is no thread to be had.
    pub async fn start(setup: Setup) -> Result<Self, HeartbeatError> {
        let (commands, to_do) = mpsc::unbounded_channel();
        let (said, outputs) = mpsc::unbounded_channel();
        let (started, start) = oneshot::channel();
        let rights = Arc::new(Rights::default());
        let in_thread = Arc::clone(&rights);
        let run = move || {
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(HeartbeatError::Thread(error)))),
            };
            runtime.block_on(async {
                match Self::turn(setup, in_thread, said) {
                    Ok(turn) => {
                        if started.send(Ok(())).is_ok() {
                            turn.run(to_do).await;
                        }
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            });
        };
        thread::Builder::new().name("heartbeats".to_owned()).spawn(run).map_err(HeartbeatError::Thread)?;
        start.await.map_err(|_| HeartbeatError::Ended)??;
        Ok(Self { commands, outputs, rights })
    }

    fn turn(
        setup: Setup,
        rights: Arc<Rights>,
        outputs: UnboundedSender<Output<Instant>>,
    ) -> Result<Turn, HeartbeatError> {
        let Setup { seat, settings, plane, keys, port, metrics } = setup;
        let codec = Codec::new(seat.id, plane, &keys, FORMATS);
        let transport = Transport::open(seat.clone(), codec, port, metrics, settings.timings.interval)?;
        let member = Member::new(clock::now(), seat, settings);
        Ok(Turn::new(member, transport, rights, outputs))
    }

    /// Tells the machine.
    pub fn tell(&self, input: Input<Instant>) {
        self.command(Command::Tell(Box::new(input)));
    }

    /// Goes over to this interface of the plane, or leaves the one that it was on. UDP goes on.
    pub fn set_link(&self, link: Option<Link>) {
        self.command(Command::Link(link));
    }

    /// Signs and reads with other keys from now on.
    pub fn set_keys(&self, keys: Keys) {
        self.command(Command::Keys(keys));
    }

    /// By which ways the other members are heard now; nothing if the thread has ended.
    pub async fn paths(&self) -> Option<Paths> {
        let (asked, answer) = oneshot::channel();
        self.command(Command::Paths(asked));
        answer.await.ok()
    }

    /// What the machine wants done or says, but for messages to others; nothing if the thread has ended.
    /// Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Option<Output<Instant>> {
        self.outputs.recv().await
    }

    /// Until when which claims may be announced.
    #[must_use]
    pub const fn rights(&self) -> &Arc<Rights> {
        &self.rights
    }

    /// Ends the thread, and returns when its sockets are closed.
    pub async fn stop(self) {
        let Self { commands, mut outputs, rights: _ } = self;
        drop(commands);
        while outputs.recv().await.is_some() {}
    }

    /// That the thread has ended shows in [`Heartbeats::next`].
    fn command(&self, command: Command) {
        drop(self.commands.send(command));
    }
}

#[cfg(test)]
mod tests;
