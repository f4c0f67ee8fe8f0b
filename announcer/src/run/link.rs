//! The plane's interface, and by which ways the others are heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use foghorn_crds::{conditions::reasons, contract};
use foghorn_membership::Health;
use foghorn_netio::{Link, LinkMonitor, Netlink, NetlinkError, clock};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::{Announcer, TURN};
use crate::{
    datapath,
    engine::Input,
    interface::{Selector, without_services},
    pod_conditions::{self, PodConditions},
};

impl Announcer {
    /// Tells the members what this node can do for its plane, when that has changed.
    pub(super) fn tell_health(&mut self) {
        let Some(part) = &self.part else { return };
        let link = self.port.link();
        let health = Health {
            carrier: link.is_some(),
            gateway: self.port.gateway_answers(),
            subnets: link.map(|link| link.addresses.clone()).unwrap_or_default(),
        };
        if self.told_health.as_ref() != Some(&health) {
            part.ownership.set_health(health.clone());
            self.told_health = Some(health);
        }
    }

    /// Looks which interface is the plane's, and goes over to it.
    pub(super) async fn choose_link(&mut self, netlink: &Netlink) {
        let Some(config) = &self.config else { return };
        let selector = Selector::new(&config.interface);
        let route = match selector.as_ref().ok().and_then(Selector::can_reach) {
            Some(address) => route_to(netlink, address).await,
            None => None,
        };
        let mut reached = datapath::Routes::new();
        if self.datapath.is_some() {
            for address in datapath::routes_to_know(config) {
                reached.insert(address, route_to(netlink, address).await);
            }
        }
        let others_changed = self.reached != reached;
        let needs_address = config.return_path.is_none();
        let links = without_services(&self.links, &self.addresses_of_services());
        let chosen = selector.and_then(|selector| selector.choose(&links, route, needs_address));
        let chosen = chosen.map_err(|fault| (fault.reason(), fault.to_string()));
        let opened = chosen.and_then(|link| {
            let attached = self.port.attach(&link);
            attached.map_err(|error| (reasons::INTERFACE_DOWN, format!("{}: {error}", link.name)))?;
            Ok(link)
        });
        let telling = match &opened {
            Ok(link) => pod_conditions::Telling {
                good: true,
                reason: reasons::INTERFACE_READY,
                message: format!("{} is the plane's interface", link.name),
            },
            Err((reason, message)) => {
                pod_conditions::Telling { good: false, reason, message: message.clone() }
            }
        };
        if opened.is_err() {
            self.port.detach();
        }
        if others_changed {
            self.reached = reached;
            self.stir();
            self.tell_datapath();
        }
        let opened = opened.ok();
        if opened.is_some() && self.last_link != opened {
            self.last_link.clone_from(&opened);
            self.stir();
        }
        if let Some(part) = &self.part {
            part.ownership.set_link(opened);
        }
        self.tell_health();
        self.tell_conditions(BTreeMap::from([(contract::INTERFACE_CONDITION, telling)]));
    }

    /// The addresses of the plane's claims, whichever node announces them.
    pub(super) fn addresses_of_services(&self) -> BTreeSet<Ipv4Addr> {
        let statuses = self.claims.values().filter_map(|claim| claim.status.as_ref());
        let told = statuses.filter_map(|status| status.address);
        told.chain(self.port.engine().addresses().into_keys()).collect()
    }

    /// Who is heard by which way, and by which hardware addresses the others are known on the plane's network.
    pub(super) async fn look_at_paths(&mut self) {
        let (Some(part), Some(link)) = (&self.part, self.port.link().cloned()) else { return };
        let Some(paths) = part.ownership.paths().await else { return };
        self.port.tell(Input::Peers(paths.iter().filter_map(|of| of.mac).collect()));
        let conditions = self.paths.conditions(clock::now(), &link.name, &paths);
        self.tell_conditions(conditions);
    }

    pub(super) fn tell_conditions(&self, news: PodConditions) {
        self.conditions.send_if_modified(|told| {
            let mut changed = false;
            for (type_, telling) in news {
                if told.get(type_) != Some(&telling) {
                    let pod_conditions::Telling { good, reason, message } = &telling;
                    if *good {
                        info!(condition = type_, message);
                    } else {
                        warn!(condition = type_, reason, message);
                    }
                    told.insert(type_, telling);
                    changed = true;
                }
            }
            changed
        });
    }
}

/// The index of the interface by which the node sends to the address.
async fn route_to(netlink: &Netlink, address: Ipv4Addr) -> Option<u32> {
    netlink.route_interface(address).await.unwrap_or_else(|error| {
        warn!(%error, %address, "no route can be looked up");
        None
    })
}

/// The interfaces as they change, followed by a task of its own: a reading that is given up half-way, as often as
/// frames come in, would never end. The sender is gone when they can no longer be followed.
pub fn follow_links(mut monitor: LinkMonitor) -> watch::Receiver<Vec<Link>> {
    let (sender, links) = watch::channel(Vec::new());
    tokio::spawn(async move {
        loop {
            match monitor.next().await {
                Ok(links) => {
                    sender.send_replace(links);
                }
                Err(NetlinkError::Closed) => return,
                Err(error) => {
                    warn!(%error, "interfaces cannot be read, trying again");
                    sleep(TURN).await;
                }
            }
        }
    });
    links
}
