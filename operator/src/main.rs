//! Foghorn's operator.

use std::time::Duration;

use clap::Parser;
use foghorn_operator::{
    args::{Arguments, Command},
    leader, uninstall,
};
use foghorn_shell::logs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(options) => {
            logs::init(&options.log)?;
            let ended = leader::run(*options).await;
            if let Err(error) = &ended {
                tracing::error!(%error, "the operator ends");
            }
            Ok(ended?)
        }
        Command::Uninstall(options) => {
            logs::init(&options.log)?;
            Ok(uninstall::run(Duration::from_secs(options.deadline_seconds)).await?)
        }
    }
}
