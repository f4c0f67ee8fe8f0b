//! The command line.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use foghorn_shell::logs::LogArgs;

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
    /// The ClusterRole that each plane's announcers are bound to, in their own namespace.
    #[arg(long)]
    pub announcer_cluster_role: String,
    /// Address and port of `/metrics`.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub metrics_address: SocketAddr,
    /// Address and port of `/healthz` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8081")]
    pub probe_address: SocketAddr,
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
