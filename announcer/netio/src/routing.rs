//! Routing tables that marks of packets lead to, and the reverse-path filter of an interface.
#![expect(clippy::wildcard_enum_match_arm, reason = "each kernel brings further netlink attributes")]

use std::{collections::BTreeSet, net::IpAddr};

use rtnetlink::{
    RouteMessageBuilder,
    packet_core::{DefaultNla, Emitable},
    packet_route::{
        link::{AfSpecInet, AfSpecUnspec, LinkAttribute, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use crate::{
    family::Family,
    links::{Netlink, NetlinkError, collect, once},
};

/// Tells our rules and routes from others' (`ip rule` and `ip route` show it as `proto 240`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(240);
/// `IFLA_INET_CONF`, of which the attribute of an interface consists that has its settings for IPv4.
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_RP_FILTER`.
const RP_FILTER: u16 = 8;

/// Packets with a mark are routed by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkRule {
    /// The family of the packets.
    pub family: Family,
    /// The bits of the mark.
    pub mark: u32,
    /// Which bits count.
    pub mask: u32,
    /// The table.
    pub table: u32,
    /// Rules of lower priority come first.
    pub priority: u32,
}

/// A route of such a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableRoute {
    /// The network, and the length of its prefix.
    pub destination: (IpAddr, u8),
    /// The router, of the same family; none where the destinations are on the interface's own network.
    pub gateway: Option<IpAddr>,
    /// The index of the interface; none where the destinations cannot be reached.
    pub interface: Option<u32>,
    /// Of two routes to one network the lower one counts.
    pub metric: u32,
}

impl Netlink {
    /// All of our rules of a family.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn mark_rules(&self, family: Family) -> Result<BTreeSet<MarkRule>, NetlinkError> {
        let rules = self.rules(family).await?;
        Ok(rules.iter().filter_map(|message| mark_rule(message, family)).collect())
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// If the kernel refuses: without `CAP_NET_ADMIN`, or if it has the rule already.
    pub async fn add_mark_rule(&self, rule: MarkRule) -> Result<(), NetlinkError> {
        let mut request = self
            .handle()
            .rule()
            .add()
            .fw_mark(rule.mark)
            .table_id(rule.table)
            .priority(rule.priority)
            .action(RuleAction::ToTable);
        let message = request.message_mut();
        message.header.family = rule.family.netlink();
        message.attributes.extend([RuleAttribute::FwMask(rule.mask), RuleAttribute::Protocol(PROTOCOL)]);
        once("a routing rule to add", request.execute()).await
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// If the kernel refuses, also because it has none such.
    pub async fn remove_mark_rule(&self, rule: MarkRule) -> Result<(), NetlinkError> {
        let rules = self.rules(rule.family).await?;
        for message in rules.into_iter().filter(|message| mark_rule(message, rule.family) == Some(rule)) {
            once("a routing rule to remove", self.handle().rule().del(message).execute()).await?;
        }
        Ok(())
    }

    async fn rules(&self, family: Family) -> Result<Vec<RuleMessage>, NetlinkError> {
        collect("routing rules", self.handle().rule().get(family.version()).execute()).await
    }

    /// Our routes in a family's table.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn table_routes(
        &self,
        family: Family,
        table: u32,
    ) -> Result<BTreeSet<TableRoute>, NetlinkError> {
        let mut all = RouteMessageBuilder::<IpAddr>::new().table_id(table).build();
        all.header.address_family = family.netlink();
        let routes = collect("routes", self.handle().route().get(all).execute()).await?;
        Ok(routes.iter().filter_map(|message| table_route(message, family, table)).collect())
    }

    /// Adds a route to a table.
    ///
    /// # Errors
    /// If the kernel refuses: without `CAP_NET_ADMIN`, if the interface is down, or if it has the route already.
    pub async fn add_table_route(&self, table: u32, route: &TableRoute) -> Result<(), NetlinkError> {
        let request = self.handle().route().add(message(table, route));
        once("a route to add", request.execute()).await
    }

    /// Removes a route from a table.
    ///
    /// # Errors
    /// If the kernel refuses, also because it has none such.
    pub async fn remove_table_route(&self, table: u32, route: &TableRoute) -> Result<(), NetlinkError> {
        let request = self.handle().route().del(message(table, route));
        once("a route to remove", request.execute()).await
    }

    /// Sets an interface's own `net.ipv4.conf.<interface>.rp_filter`. A container may not write that file; this needs
    /// `CAP_NET_ADMIN` only.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub async fn set_reverse_path_filter(&self, interface: u32, value: u32) -> Result<(), NetlinkError> {
        let setting = DefaultNla::new(RP_FILTER, value.to_ne_bytes().to_vec());
        let mut settings = vec![0; setting.buffer_len()];
        setting.emit(&mut settings);
        let conf = AfSpecInet::Other(DefaultNla::new(INET_CONF, settings));
        let mut message = LinkMessage::default();
        message.header.index = interface;
        message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![conf])]));
        once("an interface's reverse-path filter", self.handle().link().set(message).execute()).await
    }
}

fn mark_rule(message: &RuleMessage, family: Family) -> Option<MarkRule> {
    let table = message.header.table.into();
    let mut rule = MarkRule { family, mark: 0, mask: u32::MAX, table, priority: 0 };
    let mut ours = false;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::FwMark(mark) => rule.mark = *mark,
            RuleAttribute::FwMask(mask) => rule.mask = *mask,
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Protocol(protocol) => ours = *protocol == PROTOCOL,
            _ => {}
        }
    }
    ours.then_some(rule)
}

fn table_route(message: &RouteMessage, family: Family, table: u32) -> Option<TableRoute> {
    let mut found = TableRoute {
        destination: (family.unspecified(), message.header.destination_prefix_length),
        gateway: None,
        interface: None,
        metric: 0,
    };
    let mut of: u32 = message.header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => of = *table,
            RouteAttribute::Destination(destination) => found.destination.0 = ip(destination)?,
            RouteAttribute::Gateway(gateway) => found.gateway = ip(gateway),
            RouteAttribute::Oif(index) => found.interface = Some(*index),
            RouteAttribute::Priority(metric) => found.metric = *metric,
            _ => {}
        }
    }
    if message.header.kind == RouteType::Unreachable {
        found.interface = None;
    }
    (of == table && message.header.protocol == PROTOCOL).then_some(found)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn message(table: u32, route: &TableRoute) -> RouteMessage {
    let (network, bits) = route.destination;
    let mut builder =
        RouteMessageBuilder::<IpAddr>::new().table_id(table).protocol(PROTOCOL).priority(route.metric);
    builder = match (route.interface, route.gateway) {
        (None, _) => builder.kind(RouteType::Unreachable),
        // The router need not be in a network of the interface: that may have no address.
        (Some(interface), Some(_)) => {
            builder.output_interface(interface).onlink().scope(RouteScope::Universe)
        }
        (Some(interface), None) => builder.output_interface(interface).scope(RouteScope::Link),
    };
    let mut message = builder.build();
    message.header.address_family = Family::of(network).netlink();
    message.header.destination_prefix_length = bits;
    message.attributes.push(RouteAttribute::Destination(network.into()));
    let gateway = route.gateway.filter(|_| route.interface.is_some());
    message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message
}
