//! What happens to a plane: begun, and healed again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::Duration,
};

use foghorn_lab::{Error, Lab, Result, until};
use serde_json::{Value, json};

use crate::crowd::Crowd;

/// What a request to a slow API server takes.
const SLOW: Duration = Duration::from_secs(2);
/// An API server that comes and goes is there for so long, and away for so long.
const FLAP: Duration = Duration::from_secs(1);

/// Something that happens to one node, or to the API server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The node loses power.
    Power,
    /// The announcer is killed (SIGKILL); kubelet starts it again.
    Kill,
    /// The announcer is stopped (SIGSTOP), and resumed in the end.
    Stop,
    /// The plane's cable is pulled; the node's other network stays.
    Cable,
    /// `kubectl drain`, and `uncordon` in the end.
    Drain,
    /// All announcers are restarted one after the other.
    Rollout,
    /// The plane's spec changes so that the operator updates the `DaemonSet`.
    Update,
    /// The API server is ended, and started again in the end.
    ApiDown,
    /// The node and the API server do not reach each other.
    ApiCut,
    /// Only that node reaches the API server.
    ApiMinority,
    /// Each request of a node to the API server takes 2 s.
    ApiSlow,
    /// No node reaches the API server for a second, all do for a second, and so on.
    ApiFlap,
}

/// A fault that has begun. Unhealed it stays.
#[must_use]
pub struct Ongoing<'a>(Box<dyn FnOnce() -> Result<()> + 'a>);

impl fmt::Debug for Ongoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ongoing")
    }
}

impl<'a> Ongoing<'a> {
    fn healed_by(heal: impl FnOnce() -> Result<()> + 'a) -> Self {
        Self(Box::new(heal))
    }

    /// Nothing is to be healed.
    fn over() -> Self {
        Self::healed_by(|| Ok(()))
    }

    /// Ends the fault.
    ///
    /// # Errors
    /// If it does not end.
    pub fn heal(self) -> Result<()> {
        (self.0)()
    }
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Power,
        Self::Kill,
        Self::Stop,
        Self::Cable,
        Self::Drain,
        Self::Rollout,
        Self::Update,
        Self::ApiDown,
        Self::ApiCut,
        Self::ApiMinority,
        Self::ApiSlow,
        Self::ApiFlap,
    ];

    /// As a command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Cable => "cable",
            Self::Drain => "drain",
            Self::Rollout => "rollout",
            Self::Update => "update",
            Self::ApiDown => "api-down",
            Self::ApiCut => "api-cut",
            Self::ApiMinority => "api-minority",
            Self::ApiSlow => "api-slow",
            Self::ApiFlap => "api-flap",
        }
    }

    /// In words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Power => "The node loses power",
            Self::Kill => "The announcer is killed",
            Self::Stop => "The announcer is stopped, and resumed",
            Self::Cable => "The plane's cable is pulled",
            Self::Drain => "The node is drained",
            Self::Rollout => "All announcers are restarted",
            Self::Update => "The `DaemonSet` is updated",
            Self::ApiDown => "The API server is away",
            Self::ApiCut => "The node does not reach the API server",
            Self::ApiMinority => "One node alone reaches the API server",
            Self::ApiSlow => "Each request to the API server takes 2 s",
            Self::ApiFlap => "The API server is on and off each second",
        }
    }

    /// Lets it happen to a node of the plane. [`Self::Drain`], [`Self::Rollout`] and [`Self::Update`] are over when this comes back.
    ///
    /// # Errors
    /// If it cannot be made to happen.
    pub fn begin<'a>(self, plane: &'a Crowd, node: &'a str) -> Result<Ongoing<'a>> {
        let Crowd { lab, name } = plane;
        Ok(match self {
            Self::Power => {
                lab.power_off(node)?;
                Ongoing::healed_by(move || lab.power_on(node))
            }
            Self::Kill => {
                lab.kill_announcer(name, node)?;
                Ongoing::over()
            }
            Self::Stop => {
                lab.stop_announcer(name, node)?;
                Ongoing::healed_by(move || match lab.resume_announcer(name, node) {
                    // kubelet has lost patience with it, and has not started another one yet.
                    Err(Error::NoContainer { .. }) => Ok(()),
                    resumed => resumed,
                })
            }
            Self::Cable => {
                lab.unplug(node, Crowd::NETWORK)?;
                Ongoing::healed_by(move || lab.plug(node, Crowd::NETWORK))
            }
            Self::Drain => {
                let args = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"];
                lab.kubectl(&["drain", node].into_iter().chain(args).collect::<Vec<_>>())?;
                Ongoing::healed_by(move || lab.kubectl(&["uncordon", node]).map(drop))
            }
            Self::Rollout => {
                lab.kubectl(&["-n", &plane.namespace(), "rollout", "restart", "daemonset"])?;
                rolled_out(plane)?;
                Ongoing::over()
            }
            Self::Update => {
                update(plane)?;
                Ongoing::over()
            }
            Self::ApiDown => {
                lab.stop_api()?;
                Ongoing::healed_by(move || lab.start_api())
            }
            Self::ApiCut => {
                lab.cut_api(node)?;
                Ongoing::healed_by(move || lab.mend_api(node))
            }
            Self::ApiMinority => {
                let nodes = names(lab);
                let others: Vec<_> = nodes.into_iter().filter(|other| other != node).collect();
                others.iter().try_for_each(|other| lab.cut_api(other))?;
                Ongoing::healed_by(move || others.iter().try_for_each(|other| lab.mend_api(other)))
            }
            Self::ApiSlow => {
                let slow = lab.slow_api(SLOW)?;
                Ongoing::healed_by(move || {
                    drop(slow);
                    Ok(())
                })
            }
            Self::ApiFlap => {
                let stop = Arc::new(AtomicBool::new(false));
                let (lab, stopped) = (lab.clone(), Arc::clone(&stop));
                let flapping = thread::spawn(move || flap(&lab, &stopped));
                Ongoing::healed_by(move || {
                    stop.store(true, Ordering::Relaxed);
                    let ended = flapping.join();
                    ended.unwrap_or_else(|_| {
                        Err(Error::Config("the thread that cuts the API off panicked".to_owned()))
                    })
                })
            }
        })
    }

    /// Whether it happens to the API server, and not to the announcer or the network of a node.
    #[must_use]
    pub const fn is_of_api(self) -> bool {
        matches!(self, Self::ApiDown | Self::ApiCut | Self::ApiMinority | Self::ApiSlow | Self::ApiFlap)
    }

    /// Whether it needs an API server that answers.
    #[must_use]
    pub const fn needs_api(self) -> bool {
        matches!(self, Self::Drain | Self::Rollout | Self::Update)
    }
}

fn names(lab: &Lab) -> Vec<String> {
    lab.nodes().iter().map(|node| node.name().to_owned()).collect()
}

/// Ends with all of them mended.
fn flap(lab: &Lab, stopped: &AtomicBool) -> Result<()> {
    let nodes = names(lab);
    while !stopped.load(Ordering::Relaxed) {
        nodes.iter().try_for_each(|node| lab.cut_api(node))?;
        sleep(FLAP);
        nodes.iter().try_for_each(|node| lab.mend_api(node))?;
        sleep(FLAP);
    }
    Ok(())
}

/// Asks for other resources than now, and waits until all announcers have them.
fn update(plane: &Crowd) -> Result<()> {
    let Crowd { lab, name } = plane;
    let namespace = plane.namespace();
    let set = || lab.kubectl_json(&["-n", &namespace, "get", "daemonsets"]);
    let request = |sets: &Value| {
        let container = sets.pointer("/items/0/spec/template/spec/containers/0/resources/requests/cpu");
        container.and_then(Value::as_str).map(str::to_owned)
    };
    let wanted = if request(&set()?).as_deref() == Some("11m") { "12m" } else { "11m" };
    let patch = json!({"spec": {"resources": {"requests": {"cpu": wanted, "memory": "24Mi"}}}}).to_string();
    lab.kubectl(&["patch", "networkplane", name, "--type=merge", "-p", &patch])?;
    until("a DaemonSet with other resources", Duration::from_secs(30), || {
        Ok((request(&set()?).as_deref() == Some(wanted)).then_some(()))
    })?;
    rolled_out(plane)
}

fn rolled_out(plane: &Crowd) -> Result<()> {
    let args = ["-n", &plane.namespace(), "rollout", "status", "daemonset", "--timeout=180s"];
    plane.lab.kubectl(&args).map(drop)
}
