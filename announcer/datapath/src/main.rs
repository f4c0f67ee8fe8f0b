//! Foghorn's container that changes the node's network.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use foghorn_datapath::{keeper::Keeper, server};
use foghorn_shell::{
    logs::{self, LogArgs},
    shutdown,
};

/// Keeps the traffic of one network plane apart from the rest of its node.
#[derive(Parser, Debug)]
#[command(name = "foghorn-datapath", version)]
struct Args {
    /// The plane
    #[arg(long)]
    plane: String,
    /// The socket by which the announcer says what it wants
    #[arg(long)]
    socket: PathBuf,
    /// How logs look
    #[command(flatten)]
    log: LogArgs,
}

/// What is in force stays when this ends: another one goes on with it, and the traffic goes on meanwhile. It is the
/// announcer that says when nothing is wanted any more.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    logs::init(&args.log)?;
    let stop = shutdown::requested().context("signals cannot be taken over")?;
    let listener =
        server::listen(&args.socket).with_context(|| format!("socket {}", args.socket.display()))?;
    let mut keeper = Keeper::new(&args.plane)?;
    server::serve(&listener, &mut keeper, stop).await.context("no connections are taken any more")
}
