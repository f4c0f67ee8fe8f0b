//! What a Lease says, and what is to be written into it.

use std::time::Duration;

use crate::Epoch;

/// The parts of a `coordination.k8s.io/v1` Lease that the election looks at. What is absent in the object is empty or
/// zero here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `spec.holderIdentity`; empty: nobody holds it.
    pub holder: String,
    /// When the object was made, and `spec.leaseTransitions`.
    pub epoch: Epoch,
    /// `spec.renewTime` as text; only whether it changes matters.
    pub renewed: String,
    /// `spec.leaseDurationSeconds`.
    pub duration: Duration,
    /// `metadata.resourceVersion`, opaque.
    pub version: String,
}

/// A state to bring the Lease to. Who carries it out adds the renew time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// In which state alone the Lease may be changed.
    pub precondition: Precondition,
    /// `spec.holderIdentity`; empty: given up.
    pub holder: String,
    /// `spec.leaseTransitions`.
    pub transitions: u32,
    /// `spec.leaseDurationSeconds`: whole seconds.
    pub duration: Duration,
    /// Whether a tenure begins with it: `spec.acquireTime` is the time of this write.
    pub acquires: bool,
}

/// In which state alone a write may take place; the API server compares and writes in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is no Lease: create it.
    Absent,
    /// The Lease has this `metadata.resourceVersion`: replace it.
    Version(String),
}
