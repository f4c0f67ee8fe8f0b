//! What can go wrong between a controller and the API server.

use std::fmt::Display;

use kube::{Resource, core::Status};
use thiserror::Error;

/// Why a reconciliation came to no end. It is tried again.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("cannot {verb} {kind} {name}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The kind of the object.
        kind: String,
        /// Its name, with its namespace before it.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// There was no answer in time.
    #[error("the API server did not answer within {seconds} s when it was asked to {what}")]
    NoAnswer {
        /// What was tried.
        what: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// An object that could not be written as JSON.
    #[error("cannot write {what} as JSON: {source}")]
    Json {
        /// What was to be written.
        what: &'static str,
        /// Why it cannot be.
        source: serde_json::Error,
    },
    /// Every port from the base upwards is another plane's.
    #[error("no two ports are free from {base} upwards: give the operator a lower --port-base")]
    NoPorts {
        /// The first port that was looked at.
        base: u16,
    },
    /// Every cluster has this namespace; its UID tells clusters apart.
    #[error("there is no namespace kube-system yet")]
    NoClusterId,
}

impl Error {
    /// Makes an error of what the API server said of the object `name`, `namespace/name` if it is in a namespace.
    pub fn api<K: Resource<DynamicType = ()>>(
        verb: &'static str,
        name: impl Display,
    ) -> impl FnOnce(kube::Error) -> Self {
        let name = name.to_string();
        move |source| Self::Api { verb, kind: K::kind(&()).into_owned(), name, source: Box::new(source) }
    }

    /// Whether another write came first: what was decided on is outdated.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(Status::is_conflict)
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(Status::is_not_found)
    }

    fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => {
                if let kube::Error::Api(status) = &**source {
                    Some(status)
                } else {
                    None
                }
            }
            Self::NoAnswer { .. } | Self::Json { .. } | Self::NoPorts { .. } | Self::NoClusterId => None,
        }
    }
}

/// What came of a deletion: of an object that is not there it is done.
///
/// # Errors
/// That of `deleted`, but for one that says that there is no such object.
pub fn gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(drop),
    }
}
