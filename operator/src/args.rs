//! The command line.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser, Subcommand};
use foghorn_shell::logs::LogArgs;
use ipnet::Ipv4Net;

/// Foghorn's operator: planes to announcers, Services to addresses.
#[derive(Parser, Debug)]
#[command(name = "foghorn-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the controllers until a signal comes or leadership is lost.
    Run(Box<Run>),
    /// Withdraws all that Foghorn has made and leaves nothing stuck; the operator may be alive or gone.
    Uninstall(Uninstall),
}

/// Options of `run`.
#[derive(Args, Debug, Clone)]
pub struct Run {
    /// The operator's own namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// The operator's own Pod; its identity in the election and in events.
    #[arg(long, env = "POD_NAME")]
    pub pod_name: String,
    /// The image of the announcers.
    #[arg(long)]
    pub announcer_image: String,
    /// `imagePullPolicy` of the announcers' containers: `Always`, `IfNotPresent` or `Never`.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub announcer_image_pull_policy: String,
    /// The image of the container that announcers of planes with `returnPath` or `guard` have beside them.
    #[arg(long)]
    pub datapath_image: String,
    /// `imagePullPolicy` of these containers: `Always`, `IfNotPresent` or `Never`.
    #[arg(long, default_value = "IfNotPresent", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub datapath_image_pull_policy: String,
    /// The bits of the marks of packets and connections that planes with `returnPath` may use, neighbouring ones: with n
    /// bits there can be 2^n - 1 of these planes. Neither kube-proxy (0xc000), Calico (0xffff0000) nor Cilium (0xffff0fff)
    /// use the default.
    #[arg(long, default_value = "0x3000", value_parser = mark_mask)]
    pub mark_mask: u32,
    /// The number before that of the first routing table of a plane with `returnPath`.
    #[arg(long, default_value_t = 7400)]
    pub route_table_base: u32,
    /// The priority of the rules that lead to these tables, before that of the main table.
    #[arg(long, default_value_t = 7400, value_parser = clap::value_parser!(u32).range(1..32766))]
    pub route_rule_priority: u32,
    /// Networks of which no Service may have an address, besides those of nodes, their Pods and of Services that the API
    /// server tells of: the Pod networks of a CNI that does not use `spec.podCIDRs` of nodes, the underlay, a VPN.
    #[arg(long, value_delimiter = ',')]
    pub refused_networks: Vec<Ipv4Net>,
    /// The ClusterRole that each plane's announcers are bound to, in their own namespace.
    #[arg(long)]
    pub announcer_cluster_role: String,
    /// The operator's own ServiceAccount. It has the same rights there, to keep the planes' Leases right.
    #[arg(long, default_value = "foghorn-operator")]
    pub service_account: String,
    /// Address and port of `/metrics`.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,
    /// Address and port of `/healthz` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub probe_address: SocketAddr,
    /// The address of each node at which its announcers serve `/metrics`; if not given, the node's own, as the kubelet
    /// tells it.
    #[arg(long)]
    pub announcer_metrics_address: Option<IpAddr>,
    /// The first of the ports that announcers use on their nodes, two for each plane.
    #[arg(long, default_value_t = 17400)]
    pub port_base: u16,
    /// The Lease by which one of several operators leads.
    #[arg(long, default_value = "foghorn-operator")]
    pub lease_name: String,
    /// Form of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Options of `uninstall`.
#[derive(Args, Debug, Clone)]
pub struct Uninstall {
    /// Seconds until everything must be gone, with or without the help of operator and announcers.
    #[arg(long, default_value_t = 60)]
    pub deadline_seconds: u64,
    /// Form of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How many values but zero the bits of a mask have.
fn values(mask: u32) -> u32 {
    mask.checked_shr(mask.trailing_zeros()).unwrap_or_default()
}

impl Run {
    /// How many planes can have a return path.
    #[must_use]
    pub fn return_paths(&self) -> u16 {
        u16::try_from(values(self.mark_mask)).unwrap_or(u16::MAX)
    }
}

/// Bits of a mark, in hexadecimal after `0x` or in decimal.
fn mark_mask(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let mask = parsed.map_err(|error| error.to_string())?;
    let plain = values(mask);
    let is_one_run = plain != 0 && plain & plain.wrapping_add(1) == 0;
    if is_one_run { Ok(mask) } else { Err("at least one bit, and all beside each other".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_one_run_of_bits() {
        assert_eq!(mark_mask("0x3000"), Ok(0x3000));
        assert_eq!(mark_mask("0xffffffff"), Ok(u32::MAX));
        assert_eq!(mark_mask("4"), Ok(4));
        for wrong in ["0", "0x5000", "", "0x", "mask", "0x100000000"] {
            assert!(mark_mask(wrong).is_err(), "{wrong}");
        }
    }
}
