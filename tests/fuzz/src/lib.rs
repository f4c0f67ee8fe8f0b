//! What holds for arbitrary octets: the bodies of the fuzz targets, which `cargo test` replays over `corpus/`.
//!
//! `cargo xtask fuzz <target> --seconds N` looks for more. What it finds in passing stays in `target/fuzz/<target>`;
//! what broke a promise is printed with its file, and belongs into `corpus/<target>` once the fault is mended.

mod arp;
mod client;
mod datapath;
mod forwarding;
mod frames;
/// Of foghorn-crds, alone: kube would come with it, and libFuzzer looks at the counters of all that is linked.
#[path = "../../../crds/src/hardware_address.rs"]
#[allow(unreachable_pub)]
mod hardware_address;
mod heartbeats;
/// Of foghorn-dhcp, where it is private.
#[path = "../../../announcer/dhcp/src/names.rs"]
mod host_names;
mod identities;
mod membership;
mod messages;
mod names;
mod pcp;
mod script;
/// Of foghorn-operator, alone for the same reason.
#[path = "../../../operator/src/services/names.rs"]
mod templates;
mod upnp;

/// The body of a target: it panics if a promise is broken.
pub type Body = fn(&[u8]);

/// The targets by name, each the name of its folder in `corpus/` and of its file in `fuzz/fuzz_targets/`.
pub const TARGETS: [(&str, Body); 12] = [
    ("frames", frames::fuzz),
    ("messages", messages::fuzz),
    ("arp", arp::fuzz),
    ("client", client::fuzz),
    ("identities", identities::fuzz),
    ("names", names::fuzz),
    ("heartbeats", heartbeats::fuzz),
    ("pcp", pcp::fuzz),
    ("upnp", upnp::fuzz),
    ("forwarding", forwarding::fuzz),
    ("membership", membership::fuzz),
    ("datapath", datapath::fuzz),
];

pub use arp::fuzz as arp;
pub use client::fuzz as client;
pub use datapath::fuzz as datapath;
pub use forwarding::fuzz as forwarding;
pub use frames::fuzz as frames;
pub use heartbeats::fuzz as heartbeats;
pub use identities::fuzz as identities;
pub use membership::fuzz as membership;
pub use messages::fuzz as messages;
pub use names::fuzz as names;
pub use pcp::fuzz as pcp;
pub use upnp::fuzz as upnp;
