//! `cargo xtask lab`: the lab from the command line.

use std::{
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Subcommand, ValueEnum};
use foghorn_lab::{
    Architecture, Config, Lab, LabName, Probe, Result, prepare, steps::say, topology::Network,
};

use crate::{cargo::at_this_terminal, name::Name};

/// The lab, and what to do with it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    lab: Name,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start it, building what is missing
    Up {
        /// How many nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
    },
    /// End it and remove all that it left
    Down,
    #[command(flatten)]
    Running(Running),
}

/// What needs a running lab.
#[derive(Subcommand)]
enum Running {
    /// What runs and what does not
    Status,
    /// The path of the administrator's kubeconfig (of use on the lab's hosts)
    Kubeconfig,
    /// Run a command on a host
    Exec {
        /// cp, w1, w2, …, client-private, client-public, dhcp-…, gw-…, inet or sw
        host: String,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Build operator and announcer and load their images into the nodes
    Images,
    /// The leases that the DHCP server of a network has given
    Leases {
        #[arg(value_enum)]
        network: Plane,
    },
    /// Ask http://<target>/ from a host again and again, and tell the longest gap
    Probe {
        /// The host that asks
        host: String,
        /// Address and port
        target: SocketAddr,
        /// How long
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Milliseconds between requests
        #[arg(long, default_value_t = 20)]
        pause: u64,
    },
    /// A node loses power: its processes freeze and its cables are dead
    PowerOff { node: String },
    /// A node starts anew: of its processes and its network nothing is left but its disk
    Reboot { node: String },
    /// The node goes on
    PowerOn { node: String },
    /// Pull or plug one cable of a host
    Cable {
        #[arg(value_enum)]
        action: CableAction,
        /// The host
        host: String,
        /// The network that the cable goes to
        #[arg(value_enum)]
        network: Plane,
    },
    /// Kill, stop or resume the announcer of a plane on a node
    Announcer {
        #[arg(value_enum)]
        action: AnnouncerAction,
        /// The plane
        plane: String,
        /// The node
        node: String,
    },
    /// Stop or start the API server, or cut one node off from it
    Api {
        #[command(subcommand)]
        action: ApiAction,
    },
    /// Stop or start the DHCP server of a network
    Dhcp {
        #[arg(value_enum)]
        action: Switch,
        #[arg(value_enum)]
        network: Plane,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Plane {
    Private,
    Public,
}

impl From<Plane> for Network {
    fn from(plane: Plane) -> Self {
        match plane {
            Plane::Private => Self::Private,
            Plane::Public => Self::Public,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    Stop,
    Start,
}

#[derive(Clone, Copy, ValueEnum)]
enum CableAction {
    Pull,
    Plug,
}

#[derive(Clone, Copy, ValueEnum)]
enum AnnouncerAction {
    /// kill -9
    Kill,
    /// SIGSTOP
    Stop,
    /// SIGCONT
    Resume,
}

#[derive(Subcommand)]
enum ApiAction {
    /// End it
    Stop,
    /// Start it and wait until it serves
    Start,
    /// Cut a node off from it
    Cut { node: String },
    /// Undo the cut
    Mend { node: String },
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { lab: Name { name }, action } = arguments;
    match action {
        Action::Up { nodes } => up(name, nodes)?,
        Action::Down => Lab::down(&name)?,
        Action::Running(action) => return with(&Lab::open(&name)?, action),
    }
    Ok(ExitCode::SUCCESS)
}

fn with(lab: &Lab, action: Running) -> Result<ExitCode> {
    match action {
        Running::Status => status(lab)?,
        Running::Kubeconfig => say(&lab.kubeconfig().display().to_string()),
        Running::Exec { host, command } => return at_this_terminal(lab.host(&host)?.command(&command)),
        Running::Images => {
            for archive in prepare::images(Architecture::of_this_machine()?)? {
                lab.load_image(&archive)?;
                say(&format!("loaded {}", archive.display()));
            }
        }
        Running::Leases { network } => {
            for lease in lab.dhcp(network.into()).leases()? {
                let client_id = lease.client_id.as_deref().unwrap_or("-");
                say(&format!("{} {} {client_id} until {}", lease.address, lease.mac, lease.expiry));
            }
        }
        Running::Probe { host, target, seconds, pause } => {
            let probe = Probe::start(&lab.host(&host)?, target, Duration::from_millis(pause))?;
            thread::sleep(Duration::from_secs(seconds));
            say(&probe.finish()?.to_string());
        }
        Running::PowerOff { node } => lab.power_off(&node)?,
        Running::Reboot { node } => lab.reboot(&node)?,
        Running::PowerOn { node } => lab.power_on(&node)?,
        Running::Cable { action, host, network } => match action {
            CableAction::Pull => lab.unplug(&host, network.into())?,
            CableAction::Plug => lab.plug(&host, network.into())?,
        },
        Running::Announcer { action, plane, node } => match action {
            AnnouncerAction::Kill => lab.kill_announcer(&plane, &node)?,
            AnnouncerAction::Stop => lab.stop_announcer(&plane, &node)?,
            AnnouncerAction::Resume => lab.resume_announcer(&plane, &node)?,
        },
        Running::Api { action } => match action {
            ApiAction::Stop => lab.stop_api()?,
            ApiAction::Start => lab.start_api()?,
            ApiAction::Cut { node } => lab.cut_api(&node)?,
            ApiAction::Mend { node } => lab.mend_api(&node)?,
        },
        Running::Dhcp { action, network } => match action {
            Switch::Stop => lab.dhcp(network.into()).stop()?,
            Switch::Start => lab.dhcp(network.into()).start()?,
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: LabName, nodes: u8) -> Result<()> {
    let start = Instant::now();
    let lab = Lab::up(Config { name, nodes, ..Config::default() })?;
    say(&format!("the lab `{}` is up after {:.1} s", lab.name(), start.elapsed().as_secs_f32()));
    status(&lab)
}

fn status(lab: &Lab) -> Result<()> {
    for host in lab.status()? {
        let daemon = |daemon: &foghorn_lab::DaemonStatus| match daemon.pid {
            Some(pid) => format!("{} {pid}", daemon.name),
            None => format!("{} ENDED", daemon.name),
        };
        let daemons = host.daemons.iter().map(daemon).collect::<Vec<_>>().join(", ");
        let faults = host.faults.iter().map(|fault| format!(" [{fault}]")).collect::<String>();
        say(&format!("{:15} {:45} {daemons}{faults}", host.name, host.addresses.join(", ")));
    }
    Ok(())
}
