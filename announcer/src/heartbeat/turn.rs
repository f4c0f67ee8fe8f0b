//! The loop around the membership machine.

use std::{iter, sync::Arc, time::Duration};

use foghorn_clock::Instant;
use foghorn_heartbeat::Keys;
use foghorn_membership::{Input, Member, Output};
use foghorn_netio::{Link, clock};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    time::sleep,
};

use super::{Paths, Rights, transport::Transport};

/// Commands that are taken in one turn: the machine speaks before it takes more, however many wait.
const COMMANDS: usize = 1_024;
/// The loop turns at least so often.
const TURN: Duration = Duration::from_secs(1);

/// What the main loop wants.
#[derive(Debug)]
pub(super) enum Command {
    Tell(Box<Input<Instant>>),
    Link(Option<Link>),
    Keys(Keys),
    Paths(oneshot::Sender<Paths>),
}

/// The machine and what is around it. Sockets end before `outputs`, by whose end others know that.
#[derive(Debug)]
pub(super) struct Turn {
    member: Member<Instant>,
    transport: Transport,
    rights: Arc<Rights>,
    said: Vec<Output<Instant>>,
    outputs: UnboundedSender<Output<Instant>>,
}

impl Turn {
    pub(super) const fn new(
        member: Member<Instant>,
        transport: Transport,
        rights: Arc<Rights>,
        outputs: UnboundedSender<Output<Instant>>,
    ) -> Self {
        Self { member, transport, rights, said: Vec::new(), outputs }
    }

    /// Turns until nobody can want anything any more.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        loop {
            let idle = self.member.poll_timeout().map_or(TURN, |(at, _)| (at - clock::now()).min(TURN));
            let command = tokio::select! {
                () = self.transport.readable() => None,
                command = commands.recv() => match command {
                    None => return,
                    command => command,
                },
                () = sleep(idle) => None,
            };
            let further = iter::from_fn(|| commands.try_recv().ok());
            self.turn(clock::now(), command.into_iter().chain(further).take(COMMANDS));
        }
    }

    /// One turn at `now`, a reading of the clock from before it: all that had arrived by then is taken in before the
    /// machine judges what has not, also if the process stands still in between.
    fn turn(&mut self, now: Instant, commands: impl Iterator<Item = Command>) {
        for command in commands {
            match command {
                Command::Tell(input) => {
                    if let Input::Settings(settings) = &*input {
                        self.transport.set_interval(settings.timings.interval);
                    }
                    self.member.handle_input(now, *input);
                    self.listen();
                }
                Command::Link(link) => self.transport.set_link(now, link),
                Command::Keys(keys) => self.transport.set_keys(&keys),
                // Who has asked may have gone.
                Command::Paths(asked) => drop(asked.send(self.transport.paths(self.member.view()))),
            }
        }
        let Self { member, transport, rights, said, .. } = self;
        transport.receive(now, |path, message| {
            member.handle_input(now, Input::Message { path, message });
            listen(member, rights, said);
        });
        self.member.handle_timeout(now);
        self.listen();
        self.act(now);
    }

    fn listen(&mut self) {
        listen(&mut self.member, &self.rights, &mut self.said);
    }

    fn act(&mut self, now: Instant) {
        for output in self.said.drain(..) {
            if let Output::Send { to, message } = output {
                self.transport.send(now, &to, &message, self.member.view());
            } else {
                // Nobody listens only while all ends.
                drop(self.outputs.send(output));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.rights.end();
    }
}

/// Takes down what the machine says, and its rights at once.
fn listen(member: &mut Member<Instant>, rights: &Rights, said: &mut Vec<Output<Instant>>) {
    let before = said.len();
    said.extend(iter::from_fn(|| member.poll_output()));
    rights.follow(member, said.get(before..).unwrap_or_default());
}
