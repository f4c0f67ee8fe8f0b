//! The tasks of the project: `cargo xtask help` lists them.

mod bench;
mod cargo;
mod crds;
mod demo;
mod fuzz;
mod images;
mod kubectl;
mod lab;
mod name;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Two planes in a lab of their own: addresses by DHCP, curl through both, and a node that dies
    Demo(demo::Arguments),
    /// All tests
    Test(test::Arguments),
    /// What a release must pass beyond the tests: hours
    Soak(soak::Arguments),
    /// What Foghorn takes of time and machine
    Bench(bench::Arguments),
    /// Look for octets that break a promise of the DHCP client
    Fuzz(fuzz::Arguments),
    /// Build the images of operator and announcer, and print where the archives are
    Images(images::Arguments),
    /// Write the custom resource definitions into the chart
    Crds(crds::Arguments),
    /// A real Kubernetes cluster in network namespaces
    Lab(lab::Arguments),
    /// kubectl as the administrator of a lab
    Kubectl(kubectl::Arguments),
    /// Helm as the administrator of a lab
    Helm(kubectl::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Images(arguments) => images::run(&arguments),
        Task::Crds(arguments) => crds::run(&arguments),
        Task::Lab(arguments) => lab::run(arguments),
        Task::Kubectl(arguments) => kubectl::run_kubectl(&arguments),
        Task::Helm(arguments) => kubectl::run_helm(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
