//! The plane's table of nftables, as the text that `nft` takes.
//!
//! The chains come after conntrack (-200) and before kube-proxy's translation (-100), in either of its modes: what they
//! see still has the Service's address and port.

use std::{collections::BTreeSet, fmt::Write as _};

use ipnet::Ipv4Net;

use crate::{
    trace::Trace,
    wanted::{Guard, Protocol, ReturnPath, Wanted},
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
    sets(&mut text, wanted);
    chain(
        &mut text,
        "prerouting",
        "type filter hook prerouting priority mangle; policy accept;",
        prerouting(wanted),
    );
    if let Some(guard) = wanted.guard {
        chain(&mut text, "guard", "", guarded(wanted, guard));
    }
    if let Some(path) = &wanted.return_path {
        chain(&mut text, "output", "type route hook output priority mangle; policy accept;", output(path));
    }
    text + "}\n"
}

/// The text that removes the plane's table, whether it is there or not.
#[must_use]
pub fn deletion(plane: &str) -> String {
    let table = table(plane);
    format!("table inet {table}\ndelete table inet {table}\n")
}

fn sets(text: &mut String, wanted: &Wanted) {
    let addresses = || wanted.addresses.iter();
    set(text, "addresses", "typeof ip daddr;", addresses().map(|(address, _)| address.to_string()));
    let services = addresses().flat_map(|(address, served)| {
        served
            .services
            .iter()
            .map(move |(protocol, port)| format!("{address} . {} . {port}", name(*protocol)))
    });
    set(text, "services", "typeof ip daddr . meta l4proto . th dport;", services);
    let limited = addresses().filter(|(_, served)| served.sources.is_some());
    set(text, "limited", "typeof ip daddr;", limited.map(|(address, _)| address.to_string()));
    let sources = addresses().flat_map(|(address, served)| {
        // Networks that overlap would be refused.
        let networks = Ipv4Net::aggregate(&served.sources.clone().unwrap_or_default());
        networks.into_iter().map(move |network| format!("{address} . {network}"))
    });
    set(text, "sources", "typeof ip daddr . ip saddr; flags interval;", sources);
    let others = wanted.other_interfaces.iter().filter(|name| **name != wanted.interface.name);
    set(text, "others", "type ifname;", others.map(|name| format!("\"{name}\"")));
}

fn prerouting(wanted: &Wanted) -> Vec<String> {
    let interface = format!("\"{}\"", wanted.interface.name);
    let mut rules = Vec::new();
    if wanted.guard.is_some() {
        rules.push("iifname @others ip daddr @addresses counter drop".to_owned());
        // What a DHCP server sends to an address that is not in use yet; the announcer has read it by now.
        rules.push(format!("iifname {interface} udp sport 67 udp dport 68 fib daddr type unicast drop"));
        rules.push("ip daddr @addresses jump guard".to_owned());
    }
    if let Some(path) = &wanted.return_path {
        let (is_marked, of_connection) = (is_marked(path), marking("ct", path));
        rules.push(format!("iifname {interface} ip daddr @addresses ct state new {of_connection}"));
        rules
            .push(format!("iifname != {interface} ct direction reply {is_marked} {}", marking("meta", path)));
    }
    rules
}

/// What comes back from here is for a Service, or tells of one of its connections.
fn guarded(wanted: &Wanted, guard: Guard) -> Vec<String> {
    let mut rules = vec![
        // What answers a question that the address itself has asked, as it does the gateway.
        "ct direction reply ct state established return".to_owned(),
        "icmp type { destination-unreachable, time-exceeded, parameter-problem } ct state related return"
            .to_owned(),
        format!(
            "iifname \"{}\" ip daddr @limited ip daddr . ip saddr != @sources counter drop",
            wanted.interface.name
        ),
        "ip daddr . meta l4proto . th dport @services return".to_owned(),
    ];
    if guard == Guard::Reject {
        rules.extend([
            // The announcer answers it.
            "icmp type echo-request drop".to_owned(),
            format!("meta l4proto tcp {REJECTS} counter reject with tcp reset"),
            format!("meta l4proto != icmp {REJECTS} counter reject with icmpx port-unreachable"),
        ]);
    }
    rules.push("counter drop".to_owned());
    rules
}

/// What the node itself sends: replies of programs on the host's network, and what speaks from the address itself.
fn output(path: &ReturnPath) -> Vec<String> {
    let of_packet = marking("meta", path);
    vec![
        format!("ip saddr @addresses {of_packet}"),
        format!("ct direction reply {} {of_packet}", is_marked(path)),
    ]
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
    use std::collections::BTreeMap;

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
}
