//! What can go wrong in the lab, told so that a person knows where to look.

use std::{io, path::PathBuf, time::Duration};

use crate::name::LabName;

/// The result of all that the lab does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A command ended with an error.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// Program and arguments.
        command: String,
        /// Exit status.
        status: String,
        /// What it wrote to its standard error (and, if that is empty, to its standard output).
        output: String,
    },
    /// A command was interrupted because another one had failed.
    #[error("`{0}` was interrupted")]
    Interrupted(String),
    /// apt would remove packages to install others. It was not asked to.
    #[error(
        "apt would remove {removed} to install {packages}: nothing was changed. Remove them yourself if you can do \
         without them, or install the missing programs by other means, e.g. containerd and runc from Docker's packages"
    )]
    WouldRemove {
        /// What was to be installed.
        packages: String,
        /// What would be removed.
        removed: String,
    },
    /// A process of the lab ended, or never started.
    #[error("{process} on {host} does not run; the end of {log}:\n{tail}", log = log.display())]
    Daemon {
        /// The host.
        host: String,
        /// The process.
        process: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Something did not come about in time.
    #[error("{what}: not within {within:?}{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The last thing seen.
        detail: String,
    },
    /// The API server answered with an error.
    #[error("the API server answers {status} to {path}: {answer}")]
    Api {
        /// What was asked for.
        path: String,
        /// The status code.
        status: String,
        /// The answer's body.
        answer: String,
    },
    /// There is no host of that name.
    #[error("the lab `{lab}` has no host `{host}`; it has {hosts}")]
    NoHost {
        /// The lab.
        lab: LabName,
        /// The name that was asked for.
        host: String,
        /// The names there are.
        hosts: String,
    },
    /// The host is not connected to that network.
    #[error("{host} has no cable to the {network} network")]
    NoCable {
        /// The host.
        host: String,
        /// The network.
        network: String,
    },
    /// No lab can have this name.
    #[error(
        "`{0}` is not a lab's name: use 1 to 20 lower case letters, digits and hyphens, the first not a hyphen"
    )]
    LabName(String),
    /// A file or directory has a name of the lab's, but the lab did not make it.
    #[error("{} is left alone: {why}", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// How that is known, and what to do.
        why: String,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Config(String),
    /// A lab of this name runs already.
    #[error("the lab `{0}` is up already; `cargo xtask lab down --name {0}` ends it")]
    AlreadyUp(LabName),
    /// No lab of this name runs.
    #[error("the lab `{0}` is not up; `cargo xtask lab up --name {0}` starts it")]
    NotUp(LabName),
    /// The lab needs rights that only root has.
    #[error("the lab makes network namespaces and mounts: run it as root")]
    NotRoot,
    /// No such container runs on the node.
    #[error("no container of the namespace {namespace} runs on {node}")]
    NoContainer {
        /// The node.
        node: String,
        /// The Kubernetes namespace that was searched.
        namespace: String,
    },
    /// A file or an answer was not in the form that was expected.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A certificate or key could not be made.
    #[error("making the certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Things are left of a lab that was taken down.
    #[error("left of the lab `{lab}`:\n{what}")]
    Leftovers {
        /// The lab.
        lab: LabName,
        /// One a line.
        what: String,
    },
}

impl Error {
    /// For `map_err`: an [`Error::Io`] that says what was being done.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
