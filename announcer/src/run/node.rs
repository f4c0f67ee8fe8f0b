//! What the plane wants of its node: rules and routes, and addresses on the interface.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use foghorn_crds::{HostAddressMode, conditions::reasons, contract};
use foghorn_netio::{Netlink, clock};
use tokio::sync::watch;
use tracing::warn;

use super::Announcer;
use crate::{
    datapath, forwarding,
    host_address::{self, Wanted},
    pod_conditions::Telling,
    routers::router,
};

/// Changes are collected for so long: what is wanted is made of all claims.
const COLLECT: Duration = Duration::from_millis(20);

impl Announcer {
    /// Something has changed that the node's network, or what is looked at there, may have to change for.
    pub(super) fn stir(&mut self) {
        self.stirred.get_or_insert_with(clock::now);
    }

    /// How much longer changes are collected; nothing while there are none, or while nothing is said yet.
    pub(super) fn collects(&self) -> Option<Duration> {
        let since = self.stirred.filter(|_| self.claims_complete)?;
        Some((since + COLLECT).saturating_since(clock::now()))
    }

    /// Says what the plane wants of the node's network, at once for all changes that come together. Before all is known
    /// nothing is said: what is in force stays.
    pub(super) fn want_of_the_node(&mut self) {
        if self.collects() != Some(Duration::ZERO) {
            return;
        }
        self.stirred = None;
        self.want_host_addresses();
        let Some(config) = &self.config else { return };
        let router = router(config, &self.claims);
        self.port.watch_gateway(router);
        let forwards = self.forwarding.is_some() || forwarding::is_wanted(config, &self.claims);
        if self.datapath.is_none() && !forwards {
            return;
        }
        let announced = self.port.engine().addresses();
        if let (Some(datapath), Some(link)) = (&self.datapath, &self.last_link) {
            datapath.want(datapath::message(
                config,
                link,
                &self.links,
                &self.reached,
                &self.claims,
                &announced,
            ));
        }
        if forwards {
            self.want_forwarding(router, &announced);
        }
    }

    /// Says what came of that, and what the announcer itself knows to be missing.
    pub(super) fn tell_datapath(&self) {
        let (Some(config), Some(told)) = (&self.config, &self.datapath_told) else { return };
        let in_force = told.reason == reasons::IN_FORCE;
        let unknown = datapath::unknown_interfaces(config, &self.reached).filter(|_| in_force);
        let telling = match unknown {
            Some(message) => Telling { good: false, reason: reasons::OTHER_INTERFACE_UNKNOWN, message },
            None => told.clone(),
        };
        self.tell_conditions(BTreeMap::from([(contract::DATAPATH_CONDITION, telling)]));
    }

    /// Says which addresses are to be on the interface, where the plane wants that.
    fn want_host_addresses(&mut self) {
        let (Some(config), Some(part)) = (&self.config, &self.part) else { return };
        let fenced = config.host_address.mode == HostAddressMode::Fenced;
        if !fenced && self.forwarding.is_none() && self.host_addresses.is_none() {
            return;
        }
        if self.host_addresses.is_none() {
            match Netlink::open() {
                Ok(netlink) => {
                    let (sender, wanted) = watch::channel(Wanted::default());
                    tokio::spawn(host_address::keep(netlink, wanted, part.permit.clone()));
                    self.host_addresses = Some(sender);
                }
                Err(error) => {
                    warn!(%error, "no address can be put on the interface");
                    return;
                }
            }
        }
        let announced = self.port.engine().addresses();
        let wanted = Wanted {
            interface: self.port.link().map(|link| link.index),
            addresses: if fenced { announced } else { self.spoken_for(announced) },
            of_plane: self.addresses_of_services(),
            limit: host_address::limit(&config.host_address),
        };
        let Some(sender) = &self.host_addresses else { return };
        sender.send_if_modified(|told| {
            let changed = *told != wanted;
            *told = wanted;
            changed
        });
    }

    /// Those of the addresses from which the gateway is spoken to.
    fn spoken_for(&self, mut addresses: BTreeMap<Ipv4Addr, Arc<str>>) -> BTreeMap<Ipv4Addr, Arc<str>> {
        addresses.retain(|_, name| self.claims.get(&**name).is_some_and(|claim| forwarding::concerns(claim)));
        addresses
    }
}
