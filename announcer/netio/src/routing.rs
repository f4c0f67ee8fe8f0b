//! Routing tables that marks of packets lead to, and the reverse-path filter of an interface.
#![expect(clippy::wildcard_enum_match_arm, reason = "each kernel brings further netlink attributes")]

use std::{collections::BTreeSet, net::Ipv4Addr};

use rtnetlink::{
    IpVersion, RouteMessageBuilder,
    packet_core::{DefaultNla, Emitable},
    packet_route::{
        link::{AfSpecInet, AfSpecUnspec, LinkAttribute, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};

use crate::links::{Netlink, NetlinkError, collect, once};

/// Tells our rules and routes from others' (`ip rule` and `ip route` show it as `proto 240`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(240);
/// `IFLA_INET_CONF`, of which the attribute of an interface consists that has its settings for IPv4.
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_RP_FILTER`.
const RP_FILTER: u16 = 8;

/// Packets with a mark are routed by a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkRule {
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
    pub destination: (Ipv4Addr, u8),
    /// The router; none where the destinations are on the interface's own network.
    pub gateway: Option<Ipv4Addr>,
    /// The index of the interface; none where the destinations cannot be reached.
    pub interface: Option<u32>,
    /// Of two routes to one network the lower one counts.
    pub metric: u32,
}

impl Netlink {
    /// All of our rules.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn mark_rules(&self) -> Result<BTreeSet<MarkRule>, NetlinkError> {
        let rules = collect("routing rules", self.handle().rule().get(IpVersion::V4).execute()).await?;
        Ok(rules.iter().filter_map(mark_rule).collect())
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
            .v4()
            .fw_mark(rule.mark)
            .table_id(rule.table)
            .priority(rule.priority)
            .action(RuleAction::ToTable);
        let attributes = &mut request.message_mut().attributes;
        attributes.extend([RuleAttribute::FwMask(rule.mask), RuleAttribute::Protocol(PROTOCOL)]);
        once("a routing rule to add", request.execute()).await
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// If the kernel refuses, also because it has none such.
    pub async fn remove_mark_rule(&self, rule: MarkRule) -> Result<(), NetlinkError> {
        let rules = collect("routing rules", self.handle().rule().get(IpVersion::V4).execute()).await?;
        for message in rules.into_iter().filter(|message| mark_rule(message) == Some(rule)) {
            once("a routing rule to remove", self.handle().rule().del(message).execute()).await?;
        }
        Ok(())
    }

    /// Our routes in a table.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub async fn table_routes(&self, table: u32) -> Result<BTreeSet<TableRoute>, NetlinkError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().table_id(table).build();
        let routes = collect("routes", self.handle().route().get(all).execute()).await?;
        Ok(routes.iter().filter_map(|message| table_route(message, table)).collect())
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

fn mark_rule(message: &RuleMessage) -> Option<MarkRule> {
    let mut rule = MarkRule { mark: 0, mask: u32::MAX, table: message.header.table.into(), priority: 0 };
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

fn table_route(message: &RouteMessage, table: u32) -> Option<TableRoute> {
    let mut found = TableRoute {
        destination: (Ipv4Addr::UNSPECIFIED, message.header.destination_prefix_length),
        gateway: None,
        interface: None,
        metric: 0,
    };
    let mut of: u32 = message.header.table.into();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => of = *table,
            RouteAttribute::Destination(RouteAddress::Inet(destination)) => {
                found.destination.0 = *destination;
            }
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => found.gateway = Some(*gateway),
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

fn message(table: u32, route: &TableRoute) -> RouteMessage {
    let (network, bits) = route.destination;
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(network, bits)
        .table_id(table)
        .protocol(PROTOCOL)
        .priority(route.metric);
    builder = match (route.interface, route.gateway) {
        (None, _) => builder.kind(RouteType::Unreachable),
        // The router need not be in a network of the interface: that may have no address.
        (Some(interface), Some(gateway)) => {
            builder.output_interface(interface).gateway(gateway).onlink().scope(RouteScope::Universe)
        }
        (Some(interface), None) => builder.output_interface(interface).scope(RouteScope::Link),
    };
    builder.build()
}
