//! The command line.

use clap::Parser;
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
    /// Where metrics and probes are served
    #[command(flatten)]
    pub http: HttpArgs,
    /// How logs look
    #[command(flatten)]
    pub log: LogArgs,
}
