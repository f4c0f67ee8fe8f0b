//! Why a Service has no address, beyond what came of its claim: one word for each cause.

use foghorn_crds::conditions::reasons::HARDWARE_ADDRESS_TAKEN;
pub(crate) use foghorn_crds::conditions::reasons::INVALID_OVERRIDE;

/// What the Service asks for cannot be given yet.
pub(crate) const REQUEST_NOT_SUPPORTED: &str = "RequestNotSupported";
/// The Service wants an IPv6 address only.
pub(crate) const IPV6_NOT_SUPPORTED: &str = "IPv6NotSupported";
/// The Service wants addresses of both families.
pub(crate) const DUAL_STACK_NOT_SUPPORTED: &str = "DualStackNotSupported";
/// The Service names no class, and more than one plane says that it is the default one.
pub(crate) const DEFAULT_PLANE_AMBIGUOUS: &str = "DefaultPlaneAmbiguous";
/// The plane is so new that it is not known yet whether it is accepted.
pub(crate) const WAITING_FOR_PLANE: &str = "WaitingForPlane";
/// The plane is not accepted: its spec is invalid or conflicts with another plane.
pub(crate) const PLANE_NOT_ACCEPTED: &str = "PlaneNotAccepted";
/// The plane does not serve the Service's namespace.
pub(crate) const NAMESPACE_NOT_ALLOWED: &str = "NamespaceNotAllowed";
/// Another Service of the plane has the client identifier that an annotation asks for.
pub(crate) const CLIENT_ID_TAKEN: &str = "ClientIdTaken";
/// The plane, or the Service's namespace on it, has as many addresses as it may have.
pub(crate) const LIMIT_REACHED: &str = "LimitReached";
/// A claim that the Service, or one of its name, had before has not ended yet.
pub(crate) const FORMER_CLAIM_ENDING: &str = "FormerClaimEnding";
/// No announcer has taken the claim up yet.
pub(crate) const WAITING_FOR_ANNOUNCER: &str = "WaitingForAnnouncer";
/// The address is one that another Service had first.
pub(crate) const ADDRESS_TAKEN: &str = "AddressTaken";
/// The address is published, and no announcer runs on its holder any more.
pub(crate) const HOLDER_LOST: &str = "HolderLost";
/// The Service has more ports than the guard has room for: none is open.
pub(crate) const TOO_MANY_PORTS: &str = "TooManyPorts";
/// The Service has more source ranges than the guard has room for: no client is let in.
pub(crate) const TOO_MANY_SOURCE_RANGES: &str = "TooManySourceRanges";
/// Someone else keeps changing the Service's status or finalizers.
pub(crate) const STATUS_DISPUTED: &str = "StatusDisputed";

/// Reasons that may end with another claim.
pub(crate) const OF_ANOTHER_CLAIM: [&str; 3] = [LIMIT_REACHED, HARDWARE_ADDRESS_TAKEN, CLIENT_ID_TAKEN];

/// Why a Service gets no address: a reason of this list, and words for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unserved {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Unserved {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
