//! The plane's table of nftables, as the text that `nft` takes.
//!
//! The chains come after conntrack (-200) and before kube-proxy's translation (-100), in either of its modes: what they
//! see still has the Service's address and port.

use std::{collections::BTreeSet, fmt::Write as _};

use foghorn_netio::Family;
use ipnet::IpNet;

use crate::{
    trace::Trace,
    wanted::{Guard, Protocol, ReturnPath, Wanted},
    words::Words,
};

/// What the names of our tables begin with; the plane's name follows.
pub const PREFIX: &str = "foghorn-";
/// So many refusals in a second are enough.
const REJECTS: &str = "limit rate 100/second burst 100 packets";

/// The name of a plane's table, of the family `inet`.
#[must_use]
pub fn table(plane: &str) -> String {
    format!("{PREFIX}{plane}")
}

/// The text that puts the plane's table in place of the one before, in one step.
#[must_use]
pub fn ruleset(plane: &str, wanted: &Wanted, trace: &Trace) -> String {
    let table = table(plane);
    let mut text = format!("{}table inet {table} {{\n  comment \"{trace}\"\n", deletion(plane));
    let families = wanted.families();
    for family in &families {
        sets(&mut text, wanted, *family);
    }
    let others = wanted.other_interfaces.iter().filter(|name| **name != wanted.interface.name);
    set(&mut text, "others", "type ifname;", others.map(|name| format!("\"{name}\"")));
    let families: Vec<_> = families.into_iter().map(Words::of).collect();
    chain(
        &mut text,
        "prerouting",
        "type filter hook prerouting priority mangle; policy accept;",
        prerouting(wanted, &families),
    );
    if let Some(guard) = wanted.guard {
        for words in &families {
            chain(&mut text, &format!("guard{}", words.suffix), "", guarded(wanted, guard, words));
        }
    }
    if let Some(path) = &wanted.return_path {
        let hook = "type route hook output priority mangle; policy accept;";
        chain(&mut text, "output", hook, output(path, &families));
    }
    text + "}\n"
}

/// The text that removes the plane's table, whether it is there or not.
#[must_use]
pub fn deletion(plane: &str) -> String {
    let table = table(plane);
    format!("table inet {table}\ndelete table inet {table}\n")
}

/// The sets of a family's addresses.
fn sets(text: &mut String, wanted: &Wanted, family: Family) {
    let Words { ip, suffix, .. } = Words::of(family);
    let addresses = || wanted.addresses.iter().filter(|(address, _)| Family::of(**address) == family);
    let all = addresses().map(|(address, _)| address.to_string());
    set(text, &format!("addresses{suffix}"), &format!("typeof {ip} daddr;"), all);
    let services = addresses().flat_map(|(address, served)| {
        served
            .services
            .iter()
            .map(move |(protocol, port)| format!("{address} . {} . {port}", name(*protocol)))
    });
    let kind = format!("typeof {ip} daddr . meta l4proto . th dport;");
    set(text, &format!("services{suffix}"), &kind, services);
    let limited = addresses().filter(|(_, served)| served.sources.is_some());
    let limited = limited.map(|(address, _)| address.to_string());
    set(text, &format!("limited{suffix}"), &format!("typeof {ip} daddr;"), limited);
    let sources = addresses().flat_map(|(address, served)| {
        // Networks that overlap would be refused.
        let networks = IpNet::aggregate(&served.sources.clone().unwrap_or_default());
        let networks = networks.into_iter().filter(|network| Family::of(network.addr()) == family);
        networks.map(move |network| format!("{address} . {network}"))
    });
    let kind = format!("typeof {ip} daddr . {ip} saddr; flags interval;");
    set(text, &format!("sources{suffix}"), &kind, sources);
}

fn prerouting(wanted: &Wanted, families: &[Words]) -> Vec<String> {
    let interface = format!("\"{}\"", wanted.interface.name);
    let of_each = |rule: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        families.iter().map(|Words { ip, suffix, .. }| rule(ip, suffix)).collect()
    };
    let mut rules = Vec::new();
    if wanted.guard.is_some() {
        rules.extend(of_each(&|ip, suffix| {
            format!("iifname @others {ip} daddr @addresses{suffix} counter drop")
        }));
        // What a DHCP server sends to an address that is not in use yet; the announcer has read it by now. That may be
        // the first one of IPv4.
        rules.push(format!("iifname {interface} udp sport 67 udp dport 68 fib daddr type unicast drop"));
        rules.extend(of_each(&|ip, suffix| format!("{ip} daddr @addresses{suffix} jump guard{suffix}")));
    }
    if let Some(path) = &wanted.return_path {
        let (is_marked, of_connection) = (is_marked(path), marking("ct", path));
        rules.extend(of_each(&|ip, suffix| {
            format!("iifname {interface} {ip} daddr @addresses{suffix} ct state new {of_connection}")
        }));
        rules
            .push(format!("iifname != {interface} ct direction reply {is_marked} {}", marking("meta", path)));
    }
    rules
}

/// What comes back from here is for a Service, or tells of one of its connections.
fn guarded(
    wanted: &Wanted,
    guard: Guard,
    Words { ip, icmp, errors, neighbours, suffix }: &Words,
) -> Vec<String> {
    let mut rules = vec![
        // What answers a question that the address itself has asked, as it does the gateway.
        "ct direction reply ct state established return".to_owned(),
        format!("{icmp} type {{ {errors} }} ct state related return"),
    ];
    rules.extend(neighbours.map(|neighbours| format!("{neighbours} return")));
    rules.extend([
        format!(
            "iifname \"{}\" {ip} daddr @limited{suffix} {ip} daddr . {ip} saddr != @sources{suffix} counter drop",
            wanted.interface.name
        ),
        format!("{ip} daddr . meta l4proto . th dport @services{suffix} return"),
    ]);
    if guard == Guard::Reject {
        rules.extend([
            // The announcer answers it.
            format!("{icmp} type echo-request drop"),
            format!("meta l4proto tcp {REJECTS} counter reject with tcp reset"),
            format!("meta l4proto != {icmp} {REJECTS} counter reject with icmpx port-unreachable"),
        ]);
    }
    rules.push("counter drop".to_owned());
    rules
}

/// What the node itself sends: replies of programs on the host's network, and what speaks from the address itself.
fn output(path: &ReturnPath, families: &[Words]) -> Vec<String> {
    let of_packet = marking("meta", path);
    // Neighbours are answered where they are, and not by a router.
    let neighbours = families.iter().filter_map(|words| words.neighbours);
    let neighbours = neighbours.map(|neighbours| format!("{neighbours} return"));
    let own =
        families.iter().map(|Words { ip, suffix, .. }| format!("{ip} saddr @addresses{suffix} {of_packet}"));
    neighbours.chain(own).chain([format!("ct direction reply {} {of_packet}", is_marked(path))]).collect()
}

fn is_marked(ReturnPath { mark, mask, .. }: &ReturnPath) -> String {
    format!("ct mark & {mask:#x} == {mark:#x}")
}

fn marking(what: &str, ReturnPath { mark, mask, .. }: &ReturnPath) -> String {
    format!("{what} mark set {what} mark & {:#x} | {mark:#x}", !mask)
}

const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn set(text: &mut String, name: &str, kind: &str, elements: impl Iterator<Item = String>) {
    let elements: BTreeSet<_> = elements.collect();
    let elements: Vec<_> = elements.into_iter().collect();
    let list = if elements.is_empty() {
        String::new()
    } else {
        format!(" elements = {{ {} }}", elements.join(", "))
    };
    // Writing to a string cannot fail.
    let _always = writeln!(text, "  set {name} {{ {kind}{list} }}");
}

fn chain(text: &mut String, name: &str, hook: &str, rules: Vec<String>) {
    let mut lines = vec![format!("  chain {name} {{")];
    lines.extend(Some(hook).filter(|hook| !hook.is_empty()).map(|hook| format!("    {hook}")));
    lines.extend(rules.into_iter().map(|rule| format!("    {rule}")));
    lines.push("  }\n".to_owned());
    *text += &lines.join("\n");
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::IpAddr};

    use super::*;
    use crate::wanted::{Address, Interface};

    #[test]
    fn a_table_takes_the_place_of_the_one_before_in_one_step() {
        let text = ruleset("public", &wanted(), &Trace::default());
        let begin =
            "table inet foghorn-public\ndelete table inet foghorn-public\ntable inet foghorn-public {\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("comment \"foghorn\""), "{text}");
    }

    #[test]
    fn only_what_is_wanted_is_there() {
        let of = |guard, return_path| {
            ruleset("public", &Wanted { guard, return_path, ..wanted() }, &Trace::default())
        };
        let nothing = of(None, None);
        assert!(
            !nothing.contains("mark") && !nothing.contains("drop") && !nothing.contains("output"),
            "{nothing}"
        );
        let guard = of(Some(Guard::Drop), None);
        assert!(
            guard.contains("jump guard") && !guard.contains("mark") && !guard.contains("reject"),
            "{guard}"
        );
        let path = of(None, wanted().return_path);
        assert!(path.contains("ct mark set ct mark & 0xffffcfff | 0x1000"), "{path}");
        assert!(!path.contains("drop"), "{path}");
        assert!(of(Some(Guard::Reject), None).contains("reject with tcp reset"));
    }

    #[test]
    fn services_and_sources_of_each_address_are_elements_of_sets() {
        let text = ruleset("public", &wanted(), &Trace::default());
        for line in [
            "set addresses { typeof ip daddr; elements = { 203.0.113.50, 203.0.113.51 } }",
            "elements = { 203.0.113.50 . tcp . 80, 203.0.113.50 . udp . 53 } }",
            "set limited { typeof ip daddr; elements = { 203.0.113.51 } }",
            "flags interval; elements = { 203.0.113.51 . 10.0.0.0/8 } }",
            "set others { type ifname; elements = { \"eth0\" } }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn of_a_plane_of_ipv4_there_is_nothing_of_ipv6() {
        let wanted = Wanted { guard: Some(Guard::Reject), ..wanted() };
        assert_eq!(ruleset("public", &wanted, &Trace::default()), OF_IPV4);
    }

    #[test]
    fn a_plane_of_ipv6_has_the_same_rules_in_words_of_ipv6() {
        let wanted = Wanted { addresses: addresses6(), guard: Some(Guard::Reject), ..wanted() };
        assert_eq!(ruleset("public", &wanted, &Trace::default()), OF_IPV6);
    }

    #[test]
    fn a_plane_of_both_families_has_the_rules_of_both_and_what_is_of_none_once() {
        let addresses = wanted().addresses.into_iter().chain(addresses6()).collect();
        let both = Wanted { addresses, guard: Some(Guard::Reject), ..wanted() };
        let both = ruleset("public", &both, &Trace::default());
        let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
        assert_eq!(lines(&both), lines(OF_IPV4).union(&lines(OF_IPV6)).cloned().collect());
        for once in ["udp sport 67", "set others", "iifname != \"eth1\" ct direction reply"] {
            assert_eq!(both.matches(once).count(), 1, "{once}\n{both}");
        }
    }

    #[test]
    fn networks_of_the_other_family_let_nobody_in_and_hinder_nothing() {
        let sources = Some(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let served = Address { sources, ..Address::default() };
        let addresses = ["203.0.113.51", "2001:db8::51"].map(|text| (text.parse().unwrap(), served.clone()));
        let wanted = Wanted { addresses: addresses.into(), ..wanted() };
        let text = ruleset("public", &wanted, &Trace::default());
        assert!(text.contains("elements = { 203.0.113.51 . 10.0.0.0/8 }"), "{text}");
        assert!(text.contains("elements = { 2001:db8::51 . fd00::/8 }"), "{text}");
    }

    fn addresses6() -> BTreeMap<IpAddr, Address> {
        let net = |text: &str| text.parse().unwrap();
        let served = Address { services: BTreeSet::from([(Protocol::Tcp, 443)]), sources: None };
        let limited = Address {
            sources: Some(vec![net("2001:db8:1::/48"), net("2001:db8:1:2::/64")]),
            ..Address::default()
        };
        [("2001:db8::50".parse().unwrap(), served), ("2001:db8::51".parse().unwrap(), limited)].into()
    }

    fn wanted() -> Wanted {
        let net = |text: &str| text.parse().unwrap();
        let served =
            Address { services: BTreeSet::from([(Protocol::Tcp, 80), (Protocol::Udp, 53)]), sources: None };
        let limited =
            Address { sources: Some(vec![net("10.0.0.0/8"), net("10.1.0.0/16")]), ..Address::default() };
        Wanted {
            interface: Interface { name: "eth1".into(), index: 3 },
            other_interfaces: ["eth0", "eth1"].map(str::to_owned).into(),
            addresses: BTreeMap::from([
                ([203, 0, 113, 50].into(), served),
                ([203, 0, 113, 51].into(), limited),
            ]),
            guard: Some(Guard::Drop),
            return_path: Some(ReturnPath {
                mark: 0x1000,
                mask: 0x3000,
                table: 7401,
                priority: 7400,
                routes: BTreeSet::new(),
            }),
        }
    }

    const OF_IPV4: &str = r#"table inet foghorn-public
delete table inet foghorn-public
table inet foghorn-public {
  comment "foghorn"
  set addresses { typeof ip daddr; elements = { 203.0.113.50, 203.0.113.51 } }
  set services { typeof ip daddr . meta l4proto . th dport; elements = { 203.0.113.50 . tcp . 80, 203.0.113.50 . udp . 53 } }
  set limited { typeof ip daddr; elements = { 203.0.113.51 } }
  set sources { typeof ip daddr . ip saddr; flags interval; elements = { 203.0.113.51 . 10.0.0.0/8 } }
  set others { type ifname; elements = { "eth0" } }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname @others ip daddr @addresses counter drop
    iifname "eth1" udp sport 67 udp dport 68 fib daddr type unicast drop
    ip daddr @addresses jump guard
    iifname "eth1" ip daddr @addresses ct state new ct mark set ct mark & 0xffffcfff | 0x1000
    iifname != "eth1" ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
  chain guard {
    ct direction reply ct state established return
    icmp type { destination-unreachable, time-exceeded, parameter-problem } ct state related return
    iifname "eth1" ip daddr @limited ip daddr . ip saddr != @sources counter drop
    ip daddr . meta l4proto . th dport @services return
    icmp type echo-request drop
    meta l4proto tcp limit rate 100/second burst 100 packets counter reject with tcp reset
    meta l4proto != icmp limit rate 100/second burst 100 packets counter reject with icmpx port-unreachable
    counter drop
  }
  chain output {
    type route hook output priority mangle; policy accept;
    ip saddr @addresses meta mark set meta mark & 0xffffcfff | 0x1000
    ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
}
"#;

    const OF_IPV6: &str = r#"table inet foghorn-public
delete table inet foghorn-public
table inet foghorn-public {
  comment "foghorn"
  set addresses6 { typeof ip6 daddr; elements = { 2001:db8::50, 2001:db8::51 } }
  set services6 { typeof ip6 daddr . meta l4proto . th dport; elements = { 2001:db8::50 . tcp . 443 } }
  set limited6 { typeof ip6 daddr; elements = { 2001:db8::51 } }
  set sources6 { typeof ip6 daddr . ip6 saddr; flags interval; elements = { 2001:db8::51 . 2001:db8:1::/48 } }
  set others { type ifname; elements = { "eth0" } }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname @others ip6 daddr @addresses6 counter drop
    iifname "eth1" udp sport 67 udp dport 68 fib daddr type unicast drop
    ip6 daddr @addresses6 jump guard6
    iifname "eth1" ip6 daddr @addresses6 ct state new ct mark set ct mark & 0xffffcfff | 0x1000
    iifname != "eth1" ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
  chain guard6 {
    ct direction reply ct state established return
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } ct state related return
    ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } return
    iifname "eth1" ip6 daddr @limited6 ip6 daddr . ip6 saddr != @sources6 counter drop
    ip6 daddr . meta l4proto . th dport @services6 return
    icmpv6 type echo-request drop
    meta l4proto tcp limit rate 100/second burst 100 packets counter reject with tcp reset
    meta l4proto != icmpv6 limit rate 100/second burst 100 packets counter reject with icmpx port-unreachable
    counter drop
  }
  chain output {
    type route hook output priority mangle; policy accept;
    ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } return
    ip6 saddr @addresses6 meta mark set meta mark & 0xffffcfff | 0x1000
    ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
}
"#;
}
