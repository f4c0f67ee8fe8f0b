//! A Lease without an API server.

use std::sync::{Arc, Mutex};

use foghorn_clock::Instant;
use foghorn_membership::{Answer, Change, Content, Epoch, Input, Output, Precondition, Record, View, Write};

/// Clones are the same Lease.
#[derive(Clone, Default)]
pub(super) struct Lease(Arc<Mutex<Option<Record>>>);

impl Lease {
    /// The answer to what a member wants, if it is for the API server.
    pub(super) fn serve(&self, output: Output<Instant>) -> Option<Input<Instant>> {
        let (call, answer) = match output {
            Output::Read { call } => (call, Answer::Found(self.0.lock().unwrap().clone())),
            Output::Write { call, write } => (call, self.write(write)),
            Output::Send { .. } | Output::Granted { .. } | Output::Revoked { .. } => return None,
            Output::Event(_) | Output::Left => return None,
        };
        Some(Input::Answered { call, answer })
    }

    fn write(&self, Write { precondition, created, transitions, change }: Write) -> Answer {
        let mut lease = self.0.lock().unwrap();
        let version = match (&*lease, precondition) {
            (None, Precondition::Absent) => 1,
            (Some(record), Precondition::Version(version)) if record.version == version => {
                version.parse::<u32>().unwrap() + 1
            }
            _ => return Answer::Conflict,
        };
        let epoch = Epoch { created: created.max(1_767_225_600), view: transitions, quorum: 0 };
        let content = match (change, &*lease) {
            (Some(Change::View { coordinator, seats }), _) => {
                Content::View(View { epoch, coordinator, seats })
            }
            (None, Some(record)) => record.content.clone(),
            (Some(Change::Release) | None, _) => Content::Released,
        };
        let record = Record { version: version.to_string(), epoch, content };
        *lease = Some(record.clone());
        Answer::Written(record)
    }
}
