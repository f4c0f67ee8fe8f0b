//! Keeps a plane's traffic apart from the rest of its node.
//!
//! The one container of an announcer's Pod that may change the node's network. It is told what is [`wanted`] by the
//! announcer, over a socket in a folder that both share, and brings the node to that: a [`ruleset`] of nftables,
//! and for each address family a routing rule and a table of routes. All is level-triggered: what others take away comes back, and what is there from
//! before is changed, not doubled. It has no right over the cluster, and asks nothing of it.

pub mod bounds;
pub mod findings;
pub mod keeper;
pub mod nft;
pub mod ruleset;
pub mod server;
pub mod table;
pub mod trace;
pub mod wanted;
pub mod words;
