//! The command line.

use std::{net::IpAddr, path::PathBuf};

use clap::Parser;
use foghorn_crds::contract;
use foghorn_shell::{http::HttpArgs, logs::LogArgs};

/// Foghorn's announcer: holds the addresses of one network plane on one node.
#[derive(Parser, Debug, Clone)]
#[command(name = "foghorn-announcer", version)]
pub struct Args {
    /// The plane
    #[arg(long, env = "FOGHORN_PLANE")]
    pub plane: String,
    /// The plane's namespace
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// The node
    #[arg(long, env = "NODE_NAME")]
    pub node: String,
    /// The announcer's own Pod
    #[arg(long, env = "POD_NAME")]
    pub pod: String,
    /// The node's own address, where other announcers' heartbeats by UDP are to go; without it they have none to send to
    #[arg(long, env = "HOST_IP")]
    pub host_ip: Option<IpAddr>,
    /// The UDP port of heartbeats, the same on all nodes of the plane
    #[arg(long, env = "FOGHORN_HEARTBEAT_PORT", default_value_t = 9470)]
    pub heartbeat_port: u16,
    /// The folder with the keys of heartbeats, a file for each with its id as its name
    #[arg(long, env = "FOGHORN_HEARTBEAT_KEYS", default_value = contract::HEARTBEAT_KEYS_PATH)]
    pub heartbeat_keys: PathBuf,
    /// The folder for what is needed after a restart while the API server is away; without it nothing is kept
    #[arg(long, env = "FOGHORN_STATE")]
    pub state: Option<PathBuf>,
    /// The socket of the container that may change the node's network, where the Pod has one
    #[arg(long, env = "FOGHORN_DATAPATH_SOCKET")]
    pub datapath_socket: Option<PathBuf>,
    /// Where metrics and probes are served
    #[command(flatten)]
    pub http: HttpArgs,
    /// How logs look
    #[command(flatten)]
    pub log: LogArgs,
}
