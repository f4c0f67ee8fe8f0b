//! The announcer's engine on a real wire, with the DHCP servers and the gateways that people have.
//!
//! A [`World`] is an Ethernet segment of network namespaces. In it a [`Node`] runs the engine on a packet socket, as
//! the announcer does but without Kubernetes: the test gives the claims, and the [`Store`] keeps what is reported of
//! them. A [`Server`] is one of those that Debian has, and so is the [`gateway`].

mod client;
pub mod gateway;
mod node;
mod old_router;
mod packages;
mod plane;
mod repeater;
pub mod rules;
mod server;
mod store;
mod task;
mod world;

pub use client::NodesOwnClient;
pub use node::Node;
pub use old_router::{OldRouter, Row};
pub use plane::{claim, config, virtual_mac};
pub use repeater::{Repeater, Rule};
pub use server::{Dnsmasq, IscDhcpd, Kea, Refuses, Scope, Server, Udhcpd, relay};
pub use store::Store;
pub use world::{SOON, W1, W2, World, address, mac};

/// One test of each behaviour for each of these servers: functions of one type parameter, which is the [`Server`].
#[macro_export]
macro_rules! with_each {
    ($servers:tt: $($behaviour:ident),+ $(,)?) => { $($crate::with_each!(@ $behaviour $servers);)+ };
    (@ $behaviour:ident { $($name:ident: $server:ident),+ }) => {
        mod $behaviour { $(#[test] fn $name() { super::$behaviour::<$crate::$server>(); })+ }
    };
}
