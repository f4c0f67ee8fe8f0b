//! `cargo xtask bench`: what Foghorn takes of time and machine.

mod acquire;
mod api;
mod arena;
mod chaos;
mod claims;
mod datapath;
mod exchanges;
mod failover;
mod figures;
mod idle;
mod services;
mod timeline;
mod turns;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What Foghorn takes of time and machine.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From Services to addresses by DHCP, and what it costs to have them
    Acquire(acquire::Arguments),
    /// What the addresses cost while nothing happens
    Idle(idle::Arguments),
    /// What `returnPath` and `guard` take of throughput and connections
    Datapath(datapath::Arguments),
    /// How long there is no answer when a node, a cable or the API server is lost
    Failover(failover::Arguments),
    /// What many Services cost the operator, beside an API server in memory
    Services(services::Arguments),
    /// How long the heartbeat thread is busy with a burst of claims
    Turns(turns::Arguments),
    /// Faults at random; each address must have one holder that serves
    Chaos(chaos::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().bench {
        Bench::Acquire(arguments) => acquire::run(&arguments),
        Bench::Idle(arguments) => idle::run(&arguments),
        Bench::Datapath(arguments) => datapath::run(&arguments),
        Bench::Failover(arguments) => failover::run(&arguments),
        Bench::Services(arguments) => services::run(&arguments),
        Bench::Turns(arguments) => turns::run(&arguments),
        Bench::Chaos(arguments) => chaos::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
