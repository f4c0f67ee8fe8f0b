//! The yardstick: keepalived on the same nodes and the same network, with an address of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use foghorn_lab::{Daemon, Error, Host, Lab, Need, Result, install, until};
use foghorn_testbed::{Backend, Crowd, Fault, who_answers};

use super::{trial::Trial, watch::Watch};

const NEED: Need = Need::programs("keepalived", &[NAME], "the yardstick of the fail-over benchmark");
const ADDRESS: Ipv4Addr = Crowd::NETWORK.address(250);
const PORT: u16 = 9080;
const NAME: &str = "keepalived";
/// Of the first node, which has the address as long as it lives; each further one has so much less.
const PRIORITY: u8 = 150;
const STEP: u8 = 25;

/// keepalived on all nodes, each with somebody who takes connections.
pub(crate) struct Keepalived {
    nodes: Vec<Host>,
    _backends: Vec<Backend>,
}

impl Keepalived {
    /// Starts it.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        install("the benchmark", &[NEED])?;
        let nodes = lab.nodes();
        let backends = nodes.iter().map(|node| Backend::start(node, PORT)).collect::<Result<_>>()?;
        let keepalived = Self { nodes, _backends: backends };
        let priorities = (0_u8..).map(|n| PRIORITY.saturating_sub(n.saturating_mul(STEP)));
        keepalived.nodes.iter().zip(priorities).try_for_each(|(node, priority)| start(node, priority))?;
        Ok(keepalived)
    }

    /// One run: the node that has the address loses power.
    pub(crate) fn trial(&self, plane: &Crowd) -> Result<Trial> {
        let first = self.nodes.first().map(Host::name).unwrap_or_default();
        until("keepalived's address on its first node", Duration::from_secs(30), || {
            self.nodes.iter().try_for_each(|node| Daemon::new(node, NAME).check().map(drop))?;
            let hosts = who_answers(&plane.lab, Crowd::NETWORK, &[ADDRESS])?;
            Ok(hosts.get(&ADDRESS).is_some_and(|hosts| hosts.iter().eq([first])).then_some(()))
        })?;
        let watch = Watch::start(plane, SocketAddr::from((ADDRESS, PORT)), ADDRESS)?;
        let ongoing = Fault::Power.begin(plane, first)?;
        watch.settle()?;
        let (record, asking) = watch.connected()?;
        ongoing.heal()?;
        let said = asking.finish()?;
        Ok(Trial {
            victim: first.to_owned(),
            gap: record.longest_gap(),
            silence: said.answers.longest_silence(),
            overlap: said.answers.overlap(),
            delay: record.worst_delay,
            writes: None,
        })
    }
}

impl Drop for Keepalived {
    fn drop(&mut self) {
        for node in &self.nodes {
            if let Err(error) = Daemon::new(node, NAME).stop() {
                eprintln!("{error}");
            }
        }
    }
}

fn start(node: &Host, priority: u8) -> Result<()> {
    let file = |name: &str| node.dir().join(name).display().to_string();
    let config = file("keepalived.conf");
    fs::write(&config, text(priority))
        .map_err(|source| Error::Io { doing: format!("writing {config}"), source })?;
    Daemon::new(node, NAME).start(&[
        "keepalived",
        "--dont-fork",
        "--log-console",
        "--vrrp",
        &format!("--use-file={config}"),
        &format!("--pid={}", file("keepalived-parent")),
        &format!("--vrrp_pid={}", file("keepalived-vrrp")),
    ])
}

/// Adverts each 0.1 s, which only VRRP version 3 has; all else is as keepalived has it by default.
fn text(priority: u8) -> String {
    format!(
        "vrrp_instance yardstick {{
    version 3
    state BACKUP
    interface eth1
    virtual_router_id 51
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {ADDRESS}/24
    }}
}}
"
    )
}
