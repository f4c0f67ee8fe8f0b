//! The plane's table of nftables.
//!
//! The chains come after conntrack (-200) and before kube-proxy's translation (-100), in either of its modes: what they
//! see still has the Service's address and port.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use foghorn_netio::Family;
use ipnet::IpNet;

use crate::{
    table::{Clients, Set, Table},
    trace::Trace,
    wanted::{Address, Guard, Protocol, ReturnPath, Wanted},
    words::Words,
};

/// What the names of our tables begin with; the plane's name follows.
pub const PREFIX: &str = "foghorn-";
/// The set whose one element says that the table has an owner: it goes by itself where no container puts it there again.
pub const OWNER_SET: &str = "owner";
const OWNER: &str = "1";
/// For how long a table has an owner after its container was last seen. Kubernetes waits up to five minutes before it
/// starts a container again.
const ALIVE: &str = "10m";
/// So many refusals in a second are enough.
const REJECTS: &str = "limit rate 100/second burst 100 packets";

/// The name of a plane's table, of the family `inet`.
#[must_use]
pub fn table_name(plane: &str) -> String {
    format!("{PREFIX}{plane}")
}

/// The plane's table.
#[must_use]
pub fn ruleset(plane: &str, wanted: &Wanted, trace: &Trace) -> Table {
    let families: Vec<_> = wanted.families().into_iter().map(Words::of).collect();
    let mut sets: Vec<_> = families.iter().flat_map(|words| sets(wanted, words)).collect();
    let others = wanted.other_interfaces.iter().filter(|name| **name != wanted.interface.name);
    sets.push(set("set", "others", "type ifname;", others.map(|name| format!("\"{name}\""))));
    let owner = [format!("{OWNER} timeout {ALIVE}")].into_iter();
    sets.push(set("set", OWNER_SET, "type inet_service; flags timeout;", owner));
    let mut chains = chain(
        "prerouting",
        "type filter hook prerouting priority mangle; policy accept;",
        prerouting(wanted, &families),
    );
    let mut clients = BTreeMap::new();
    if let Some(guard) = wanted.guard {
        for words in &families {
            chains += &chain(&format!("guard{}", words.suffix), "", guarded(wanted, guard, words));
            clients.extend(limited(wanted, words.family).map(|(address, networks)| {
                let name = clients_name(&address.to_string());
                let rule = format!("{} saddr != @{name} counter drop", words.ip);
                (name, Clients { kind: words.networks, networks, rule })
            }));
        }
    }
    if let Some(path) = &wanted.return_path {
        let hook = "type route hook output priority mangle; policy accept;";
        chains += &chain("output", hook, output(path, &families));
    }
    Table { name: table_name(plane), comment: trace.to_string(), sets, clients, chains }
}

/// The text that says once more that the plane's table has an owner.
#[must_use]
pub fn owned(plane: &str) -> String {
    let set = format!("inet {} {OWNER_SET}", table_name(plane));
    let add = format!("add element {set} {{ {OWNER} timeout {ALIVE} }}\n");
    // The element that is there keeps its time: so it has to go first, and to go it has to be there.
    format!("{add}delete element {set} {{ {OWNER} }}\n{add}")
}

/// The sets of a family's addresses.
fn sets(wanted: &Wanted, words: &Words) -> Vec<Set> {
    let Words { family, ip, suffix, .. } = words;
    let all = addresses(wanted, *family).map(|(address, _)| address.to_string());
    let all = set("set", &format!("addresses{suffix}"), &format!("typeof {ip} daddr;"), all);
    if wanted.guard.is_none() {
        return vec![all];
    }
    let services = addresses(wanted, *family).flat_map(|(address, served)| {
        served
            .services
            .iter()
            .map(move |(protocol, port)| format!("{address} . {} . {port}", name(*protocol)))
    });
    let kind = format!("typeof {ip} daddr . meta l4proto . th dport;");
    let services = set("set", &format!("services{suffix}"), &kind, services);
    let limited = limited(wanted, *family).map(|(address, _)| {
        let address = address.to_string();
        format!("{address} : jump {}", clients_name(&address))
    });
    let kind = format!("typeof {ip} daddr : verdict;");
    vec![all, services, set("map", &format!("limited{suffix}"), &kind, limited)]
}

/// The addresses of a family, and what is served there.
fn addresses(wanted: &Wanted, family: Family) -> impl Iterator<Item = (IpAddr, &Address)> {
    let all = wanted.addresses.iter().map(|(address, served)| (*address, served));
    all.filter(move |(address, _)| Family::of(*address) == family)
}

/// The addresses of a family that not every client may reach, and the networks of those that may: a set for each, since
/// sets of pairs take seconds to fill.
fn limited(wanted: &Wanted, family: Family) -> impl Iterator<Item = (IpAddr, BTreeSet<String>)> {
    addresses(wanted, family).filter_map(move |(address, served)| {
        // Networks that overlap would be refused.
        let networks = IpNet::aggregate(served.sources.as_ref()?);
        let networks = || networks.iter().filter(move |network| Family::of(network.addr()) == family);
        let is_limited = networks().all(|network| network.prefix_len() > 0);
        is_limited.then(|| (address, networks().map(ToString::to_string).collect()))
    })
}

/// What the set and the chain of an address's clients are called; names of nftables have no colons.
fn clients_name(address: &str) -> String {
    format!("clients-{}", address.replace(':', "-"))
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
        rules.extend(wanted.interface.mac.map(|mac| dhcp_answers(&interface, mac)));
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

/// Drops what a DHCP server sends to a client with the interface's MAC address at an address that is not in use yet: the
/// announcer has read it by now, and the kernel would forward it. Answers to other clients pass: virtual machines behind a
/// bridge, whose frames come by here too, and networks that the node routes. The server's client may be the first one of
/// IPv4.
fn dhcp_answers(interface: &str, mac: [u8; 6]) -> String {
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    // `chaddr` of a message (RFC 2131), after 8 bytes of UDP and 28 of its own.
    format!("iifname {interface} udp sport 67 udp dport 68 @th,288,48 0x{mac} fib daddr type unicast drop")
}

/// What comes back from here is for a Service, or tells of one of its connections.
fn guarded(
    wanted: &Wanted,
    guard: Guard,
    Words { ip, icmp, errors, neighbours, suffix, .. }: &Words,
) -> Vec<String> {
    let mut rules = vec![
        // What answers a question that the address itself has asked, as it does the gateway.
        "ct direction reply ct state established return".to_owned(),
        format!("{icmp} type {{ {errors} }} ct state related return"),
    ];
    rules.extend(neighbours.map(|neighbours| format!("{neighbours} return")));
    rules.extend([
        format!("iifname \"{}\" {ip} daddr vmap @limited{suffix}", wanted.interface.name),
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

fn set(keyword: &'static str, name: &str, kind: &str, elements: impl Iterator<Item = String>) -> Set {
    Set { keyword, name: name.to_owned(), kind: kind.to_owned(), elements: elements.collect() }
}

fn chain(name: &str, hook: &str, rules: Vec<String>) -> String {
    let mut lines = vec![format!("  chain {name} {{")];
    lines.extend(Some(hook).filter(|hook| !hook.is_empty()).map(|hook| format!("    {hook}")));
    lines.extend(rules.into_iter().map(|rule| format!("    {rule}")));
    lines.push("  }\n".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wanted::{Address, Interface};

    #[test]
    fn a_table_takes_the_place_of_the_one_before_in_one_step() {
        let text = whole(&wanted());
        let begin =
            "table inet foghorn-public\ndelete table inet foghorn-public\ntable inet foghorn-public {\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("comment \"foghorn\""), "{text}");
    }

    #[test]
    fn only_what_is_wanted_is_there() {
        let of = |guard, return_path| whole(&Wanted { guard, return_path, ..wanted() });
        let nothing = of(None, None);
        assert!(
            ["mark", "drop", "output", "services", "clients"].iter().all(|word| !nothing.contains(word)),
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
        let text = whole(&wanted());
        for line in [
            "set addresses { typeof ip daddr; elements = { 203.0.113.50, 203.0.113.51 } }",
            "elements = { 203.0.113.50 . tcp . 80, 203.0.113.50 . udp . 53 } }",
            "elements = { 203.0.113.51 : jump clients-203.0.113.51 } }",
            "set clients-203.0.113.51 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }",
            "set others { type ifname; elements = { \"eth0\" } }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn of_a_plane_of_ipv4_there_is_nothing_of_ipv6() {
        let wanted = Wanted { guard: Some(Guard::Reject), ..wanted() };
        assert_eq!(whole(&wanted), OF_IPV4);
    }

    #[test]
    fn a_plane_of_ipv6_has_the_same_rules_in_words_of_ipv6() {
        let wanted = Wanted { addresses: addresses6(), guard: Some(Guard::Reject), ..wanted() };
        assert_eq!(whole(&wanted), OF_IPV6);
    }

    #[test]
    fn a_plane_of_both_families_has_the_rules_of_both_and_what_is_of_none_once() {
        let addresses = wanted().addresses.into_iter().chain(addresses6()).collect();
        let both = Wanted { addresses, guard: Some(Guard::Reject), ..wanted() };
        let both = whole(&both);
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
        let text = whole(&wanted);
        for line in [
            "set clients-203.0.113.51 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }",
            "set clients-2001-db8--51 { type ipv6_addr; flags interval; elements = { fd00::/8 } }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_owner_is_put_there_again_with_its_whole_time() {
        let text = owned("public");
        let element = "element inet foghorn-public owner { 1";
        let add = format!("add {element} timeout 10m }}");
        let delete = format!("delete {element} }}");
        assert_eq!(text.lines().collect::<Vec<_>>(), [&*add, &*delete, &*add]);
    }

    #[test]
    fn dhcp_answers_to_other_clients_than_the_interface_pass() {
        let of_dhcp = |mac| -> Vec<String> {
            let interface = Interface { name: "br0".into(), index: 3, mac };
            let text = whole(&Wanted { interface, ..wanted() });
            text.lines().filter(|line| line.contains("sport 67")).map(|line| line.trim().to_owned()).collect()
        };
        let rule =
            "iifname \"br0\" udp sport 67 udp dport 68 @th,288,48 0x02005e10000f fib daddr type unicast drop";
        assert_eq!(of_dhcp(Some([2, 0, 0x5e, 0x10, 0, 15])), [rule]);
        assert_eq!(of_dhcp(None), [""; 0]);
    }

    #[test]
    fn a_network_of_all_addresses_limits_nobody() {
        let sources = Some(vec!["10.0.0.0/8".parse().unwrap(), "0.0.0.0/0".parse().unwrap()]);
        let served = Address { sources, ..Address::default() };
        let addresses = [([203, 0, 113, 51].into(), served)].into();
        assert!(!whole(&Wanted { addresses, ..wanted() }).contains("clients"));
    }

    #[test]
    fn an_address_that_no_client_may_reach_has_an_empty_set() {
        let served = Address { sources: Some(Vec::new()), ..Address::default() };
        let addresses = [([203, 0, 113, 51].into(), served)].into();
        let text = whole(&Wanted { addresses, ..wanted() });
        assert!(text.contains("set clients-203.0.113.51 { type ipv4_addr; flags interval; }"), "{text}");
    }

    #[test]
    fn another_claim_changes_elements_and_the_set_of_its_own_only() {
        let before = wanted();
        let mut after = before.clone();
        let sources = Some(vec!["198.51.100.0/24".parse().unwrap()]);
        let served = Address { sources, services: [(Protocol::Tcp, 22)].into(), closed: false };
        after.addresses.insert([203, 0, 113, 52].into(), served);
        let table = |wanted| ruleset("public", wanted, &Trace::default());
        let text = table(&after).change(&table(&before)).unwrap();
        assert!(!text.contains("203.0.113.50") && !text.contains("203.0.113.51"), "{text}");
        assert_eq!(text.lines().count(), 7, "{text}");
        let back = table(&before).change(&table(&after)).unwrap();
        assert_eq!(back.matches("203.0.113.52").count(), 7, "{back}");
    }

    fn whole(wanted: &Wanted) -> String {
        ruleset("public", wanted, &Trace::default()).whole()
    }

    fn addresses6() -> BTreeMap<IpAddr, Address> {
        let net = |text: &str| text.parse().unwrap();
        let served =
            Address { services: BTreeSet::from([(Protocol::Tcp, 443)]), sources: None, closed: false };
        let limited = Address {
            sources: Some(vec![net("2001:db8:1::/48"), net("2001:db8:1:2::/64")]),
            ..Address::default()
        };
        [("2001:db8::50".parse().unwrap(), served), ("2001:db8::51".parse().unwrap(), limited)].into()
    }

    fn wanted() -> Wanted {
        let net = |text: &str| text.parse().unwrap();
        let served = Address {
            services: BTreeSet::from([(Protocol::Tcp, 80), (Protocol::Udp, 53)]),
            sources: None,
            closed: false,
        };
        let limited =
            Address { sources: Some(vec![net("10.0.0.0/8"), net("10.1.0.0/16")]), ..Address::default() };
        Wanted {
            interface: Interface { name: "eth1".into(), index: 3, mac: Some([2, 0, 0, 0, 0, 1]) },
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
  map limited { typeof ip daddr : verdict; elements = { 203.0.113.51 : jump clients-203.0.113.51 } }
  set others { type ifname; elements = { "eth0" } }
  set owner { type inet_service; flags timeout; elements = { 1 timeout 10m } }
  set clients-203.0.113.51 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname @others ip daddr @addresses counter drop
    iifname "eth1" udp sport 67 udp dport 68 @th,288,48 0x020000000001 fib daddr type unicast drop
    ip daddr @addresses jump guard
    iifname "eth1" ip daddr @addresses ct state new ct mark set ct mark & 0xffffcfff | 0x1000
    iifname != "eth1" ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
  chain guard {
    ct direction reply ct state established return
    icmp type { destination-unreachable, time-exceeded, parameter-problem } ct state related return
    iifname "eth1" ip daddr vmap @limited
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
  chain clients-203.0.113.51 {
    ip saddr != @clients-203.0.113.51 counter drop
  }
}
"#;

    const OF_IPV6: &str = r#"table inet foghorn-public
delete table inet foghorn-public
table inet foghorn-public {
  comment "foghorn"
  set addresses6 { typeof ip6 daddr; elements = { 2001:db8::50, 2001:db8::51 } }
  set services6 { typeof ip6 daddr . meta l4proto . th dport; elements = { 2001:db8::50 . tcp . 443 } }
  map limited6 { typeof ip6 daddr : verdict; elements = { 2001:db8::51 : jump clients-2001-db8--51 } }
  set others { type ifname; elements = { "eth0" } }
  set owner { type inet_service; flags timeout; elements = { 1 timeout 10m } }
  set clients-2001-db8--51 { type ipv6_addr; flags interval; elements = { 2001:db8:1::/48 } }
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname @others ip6 daddr @addresses6 counter drop
    iifname "eth1" udp sport 67 udp dport 68 @th,288,48 0x020000000001 fib daddr type unicast drop
    ip6 daddr @addresses6 jump guard6
    iifname "eth1" ip6 daddr @addresses6 ct state new ct mark set ct mark & 0xffffcfff | 0x1000
    iifname != "eth1" ct direction reply ct mark & 0x3000 == 0x1000 meta mark set meta mark & 0xffffcfff | 0x1000
  }
  chain guard6 {
    ct direction reply ct state established return
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } ct state related return
    ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } return
    iifname "eth1" ip6 daddr vmap @limited6
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
  chain clients-2001-db8--51 {
    ip6 saddr != @clients-2001-db8--51 counter drop
  }
}
"#;
}
