//! The program on a real kernel, in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_datapath::wanted::{
    Address, Answer, Guard, Interface, Message, Protocol, ReturnPath, Route, Wanted,
};
use foghorn_netio::Family;

/// The interface's MAC address.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
/// What comes back is looked for each two seconds, and the table each ten.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_is_wanted_is_there_comes_back_and_leaves_nothing() {
    let host = Host::new("kept");
    let program = host.start(&[]);
    assert_eq!(host.say(Some(wanted(&host))), Answer { wanted: true, findings: Vec::new() });
    assert!(host.has_all());
    assert_eq!(host.filter(), "0");
    assert!(host.has_nothing_of(Family::V6));

    host.run("ip rule del pref 7400; ip route flush table 7401; nft flush ruleset");
    assert!(!host.has_all());
    host.until("all is there again", Host::has_all);

    drop(program);
    assert!(host.has_all(), "the traffic goes on without the program");
    let _program = host.start(&[]);
    let other = Wanted { return_path: None, ..wanted(&host) };
    assert!(host.say(Some(other)).findings.is_empty());
    host.until("the guard alone is left", |host| {
        host.table().contains("chain guard") && host.routes_nothing_of(Family::V4)
    });
    assert_eq!(host.filter(), "2", "as it was before");

    host.say(Some(wanted(&host)));
    assert!(host.has_all());
    assert_eq!(host.say(None), Answer::default());
    assert_eq!((host.table(), host.filter()), (String::new(), "2".to_owned()));
    assert!(host.has_nothing_of(Family::V4));
}

#[test]
fn ipv6_is_kept_beside_ipv4_and_each_goes_when_it_is_not_wanted_any_more() {
    let host = Host::new("both");
    let _program = host.start(&[]);
    let (both, ipv6) = (both(&host), only(&both(&host), Family::V6));
    assert_eq!(host.say(Some(both.clone())), Answer { wanted: true, findings: Vec::new() });
    assert!(Family::ALL.into_iter().all(|family| host.has_all_of(family)), "{}", host.seen());

    host.run("ip -6 rule del pref 7400; ip -6 route flush table 7401");
    assert!(!host.has_all_of(Family::V6));
    host.until("all of IPv6 is there again", |host| host.has_all_of(Family::V6));
    assert!(host.has_all());

    host.say(Some(wanted(&host)));
    assert!(host.has_all() && host.has_nothing_of(Family::V6), "{}", host.seen());
    host.say(Some(both));
    assert_eq!(host.say(Some(ipv6)), Answer { wanted: true, findings: Vec::new() });
    assert!(host.has_all_of(Family::V6) && host.has_nothing_of(Family::V4), "{}", host.seen());
    assert_eq!(host.filter(), "2", "a matter of IPv4");

    host.say(None);
    assert_eq!(host.table(), "");
    assert!(Family::ALL.into_iter().all(|family| host.has_nothing_of(family)), "{}", host.seen());
}

#[test]
fn a_node_that_does_not_forward_ipv6_is_told_of() {
    let host = Host::new("forward");
    host.run("sysctl -qw net.ipv6.conf.all.forwarding=0");
    let _program = host.start(&[]);
    assert!(host.say(Some(wanted(&host))).findings.is_empty());
    let answer = host.say(Some(both(&host)));
    let [finding] = answer.findings.as_slice() else { panic!("{answer:?}") };
    assert_eq!(finding.reason, "NoForwarding");
    assert!(finding.message.starts_with("net.ipv6.conf.all.forwarding"), "{}", finding.message);
}

/// Nobody listens: what comes through is refused by the node itself, whose default route leads to where nobody is.
#[test]
fn clients_beyond_the_router_reach_a_guarded_address_of_either_family_at_its_services_ports_only() {
    let host = Host::new("guarded");
    let addresses = ["203.0.113.50", "2001:db8::50"];
    host.run(
        "ip addr add 203.0.113.50/32 dev eth1; ip addr add 2001:db8::50/128 dev eth1 nodad; \
         ip link add eth0 type veth peer name nowhere; ip link set nowhere up; ip link set eth0 up; \
         ip route add default dev eth0; ip -6 route add default dev eth0",
    );
    // Not on the cable: so the router asks for its neighbours as itself, by its link-local address in IPv6.
    host.run_far(
        "ip link set lo up; ip addr add 198.51.100.9/32 dev lo; ip addr add 2001:db8:f::9/128 dev lo nodad; \
         ip route add 203.0.113.50 dev far src 198.51.100.9; \
         ip route add 2001:db8::50 dev far src 2001:db8:f::9",
    );
    let reached = |port| addresses.map(|address| host.is_reached(address, port));
    assert_eq!(reached(80), [false; 2], "without a return path");
    let _program = host.start(&[]);
    let mut wanted = Wanted { guard: Some(Guard::Drop), ..both(&host) };
    // The default router is not there: neighbours are found without it.
    let path = wanted.return_path.as_mut().unwrap();
    path.routes.extend([
        route("198.51.100.0/24", Some("203.0.113.9")),
        route("2001:db8:f::/48", Some("2001:db8::9")),
    ]);
    assert!(host.say(Some(Wanted { guard: None, ..wanted.clone() })).findings.is_empty());
    assert_eq!(reached(22), [true; 2], "without a guard");
    assert!(host.say(Some(wanted)).findings.is_empty());
    let forget = "ip -4 neigh flush all; ip -6 neigh flush all";
    host.run(forget);
    host.run_far(forget);
    assert_eq!(reached(80), [true; 2], "{}", host.seen());
    assert_eq!(reached(22), [false; 2], "{}", host.seen());
}

/// As on a node with virtual machines, whose bridged frames pass the rules of the node too.
#[test]
fn dhcp_answers_to_a_client_behind_the_bridge_pass_the_guard() {
    let host = Host::new("bridge");
    let machine = Namespace::new(format!("{}-vm", host.name));
    host.run(&format!(
        "modprobe br_netfilter; ip link add br0 address 02:00:00:00:00:11 type bridge; ip link set br0 up; \
         sysctl -qw net.bridge.bridge-nf-call-iptables=1; ip addr flush dev eth1; ip link set eth1 master br0; \
         ip addr add 203.0.113.11/24 dev br0; ip link add port type veth peer name vm netns {}; \
         ip link set port master br0 up",
        machine.0
    ));
    let table = "table inet heard { chain in { type filter hook input priority 0; udp dport 68 counter; }; }";
    run_in(&machine.0, &format!("ip link set vm up; ip addr add 203.0.113.99/24 dev vm; nft '{table}'"));
    let server = "table ip server { chain out { type filter hook output priority 0; udp dport 68 udp sport set 67; }; }";
    host.run_far(&format!("nft '{server}'"));
    let _program = host.start(&[]);
    let index = host.run("cat /sys/class/net/br0/ifindex").parse().unwrap();
    let interface = Interface { name: "br0".into(), index, mac: Some(MAC) };
    let wanted = Wanted { interface, guard: Some(Guard::Drop), return_path: None, ..wanted(&host) };
    assert!(host.say(Some(wanted)).findings.is_empty());
    let answer = |client: &str| {
        // 28 bytes, and the client's MAC address.
        let message = format!("{}{client}", r"\x02".repeat(28));
        host.run_far(&format!("bash -c \"printf '{message}' >/dev/udp/203.0.113.99/68\""));
        sleep(Duration::from_millis(500));
    };
    let heard = |count: u32| run_in(&machine.0, "nft list ruleset").contains(&format!("packets {count} "));
    answer(r"\x02\x00\x00\x00\x00\x99");
    assert!(heard(1), "{}", host.seen());
    answer(r"\x02\x00\x00\x00\x00\x11");
    assert!(heard(1), "for a client of the node's own: {}", host.seen());
}

#[test]
fn what_a_plane_that_is_no_more_has_left_is_removed_by_another_one() {
    let host = Host::new("left");
    let program = host.start(&[]);
    host.say(Some(both(&host)));
    drop(program);
    let program = host.start_as("private", &[]);
    host.say(None);
    sleep(Duration::from_secs(3));
    assert!(host.has_all(), "its container was there a moment ago");
    drop(program);
    // As if ten minutes had passed.
    host.run("nft flush set inet foghorn-public owner");
    let _program = host.start_as("private", &[]);
    host.say(None);
    host.until("nothing is left", |host| {
        host.table().is_empty() && Family::ALL.into_iter().all(|family| host.has_nothing_of(family))
    });
    assert_eq!(host.filter(), "2");
}

#[test]
fn without_the_right_to_change_the_network_that_is_told_and_nothing_else_happens() {
    let host = Host::new("weak");
    let _program = host.start(&["setpriv", "--bounding-set", "-net_admin"]);
    let answer = host.say(Some(wanted(&host)));
    let [finding] = answer.findings.as_slice() else { panic!("{answer:?}") };
    assert_eq!(finding.reason, "NotPermitted");
    assert!(finding.message.contains("NET_ADMIN"), "{}", finding.message);
    assert_eq!((host.table(), host.filter()), (String::new(), "2".to_owned()));
}

/// A network namespace with an interface, and one at the other end of the cable; they go with their test.
struct Host {
    name: String,
    socket: PathBuf,
}

/// A network namespace that goes with its test.
struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Self {
        assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ended = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A program that ends when it is dropped, however.
struct Program(Child);

impl Host {
    fn new(test: &str) -> Self {
        let name = format!("fogdp-{test}-{}", std::process::id());
        let socket = std::env::temp_dir().join(format!("{name}.sock"));
        let host = Self { name, socket };
        for name in [&host.name, &host.far()] {
            assert!(Command::new("ip").args(["netns", "add", name]).status().unwrap().success());
        }
        let far = host.far();
        host.run(&format!(
            "ip link set lo up; ip link add eth1 address 02:00:00:00:00:11 type veth peer name far netns {far}; ip link set eth1 up; \
             ip addr add 203.0.113.11/24 dev eth1; ip addr add 2001:db8::11/64 dev eth1 nodad; \
             sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth1.rp_filter=2 net.ipv6.conf.all.forwarding=1",
        ));
        host.run_far(
            "ip link set far up; ip addr add 203.0.113.9/24 dev far; ip addr add 2001:db8::9/64 dev far nodad",
        );
        host
    }

    fn far(&self) -> String {
        format!("{}-far", self.name)
    }

    /// What a shell's script there prints.
    fn run(&self, script: &str) -> String {
        run_in(&self.name, script)
    }

    /// What one at the other end of the cable prints.
    fn run_far(&self, script: &str) -> String {
        run_in(&self.far(), script)
    }

    /// Whether somebody, be it the kernel, answers what comes over the cable for that port.
    fn is_reached(&self, address: &str, port: u16) -> bool {
        let connect = format!("timeout 3 bash -c ': </dev/tcp/{address}/{port}' 2>&1");
        self.run_far(&connect).contains("refused")
    }

    fn start(&self, before: &[&str]) -> Program {
        self.start_as("public", before)
    }

    fn start_as(&self, plane: &str, before: &[&str]) -> Program {
        let _none = fs::remove_file(&self.socket);
        let socket = self.socket.display().to_string();
        let program = [env!("CARGO_BIN_EXE_foghorn-datapath"), "--plane", plane, "--socket", &socket];
        let within = ["netns", "exec", self.name.as_str()];
        let child = Command::new("ip").args(within).args(before).args(program).spawn().unwrap();
        self.until("the program listens", |host| host.socket.exists());
        Program(child)
    }

    /// The program's answer.
    fn say(&self, wanted: Option<Wanted>) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let planes = BTreeSet::from(["private".to_owned(), "public".to_owned()]);
        // A plane that is no more is none of them.
        let planes = if wanted.is_some() { planes } else { BTreeSet::from(["private".to_owned()]) };
        let mut text = serde_json::to_vec(&Message { planes, wanted }).unwrap();
        text.push(b'\n');
        stream.write_all(&text).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn table(&self) -> String {
        self.run("nft list table inet foghorn-public 2>/dev/null")
    }

    fn rules(&self, family: Family) -> String {
        self.run(&format!("{} rule", ip(family)))
    }

    fn routes(&self, family: Family) -> String {
        self.run(&format!("{} route show table 7401 2>/dev/null", ip(family)))
    }

    fn filter(&self) -> String {
        self.run("cat /proc/sys/net/ipv4/conf/eth1/rp_filter")
    }

    fn has_all(&self) -> bool {
        self.has_all_of(Family::V4)
    }

    fn has_all_of(&self, family: Family) -> bool {
        let (address, default, network) = match family {
            Family::V4 => ("203.0.113.50", "default via 203.0.113.1 dev eth1", "203.0.113.0/24 dev eth1"),
            Family::V6 => ("2001:db8::50", "default via 2001:db8::1 dev eth1", "2001:db8::/64 dev eth1"),
        };
        let routes = self.routes(family);
        self.table().contains(&format!("{address} . tcp . 80"))
            && self.rules(family).contains("fwmark 0x1000/0x3000 lookup 7401")
            && [default, "unreachable default", network].iter().all(|route| routes.contains(route))
    }

    fn has_nothing_of(&self, family: Family) -> bool {
        let address = match family {
            Family::V4 => "ip daddr",
            Family::V6 => "ip6 daddr",
        };
        self.routes_nothing_of(family) && !self.table().contains(address)
    }

    fn routes_nothing_of(&self, family: Family) -> bool {
        !self.rules(family).contains("proto 240") && self.routes(family).is_empty()
    }

    fn seen(&self) -> String {
        let of = |family| format!("{}\n{}", self.rules(family), self.routes(family));
        format!("{}\n{}\n{}", self.table(), of(Family::V4), of(Family::V6))
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "{what}:\n{}", self.seen());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for name in [&self.name, &self.far()] {
            let _ended = Command::new("ip").args(["netns", "del", name]).status();
        }
        let _gone = fs::remove_file(&self.socket);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn run_in(namespace: &str, script: &str) -> String {
    let shell = ["netns", "exec", namespace, "sh", "-c", script];
    let output = Command::new("ip").args(shell).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip -4",
        Family::V6 => "ip -6",
    }
}

/// What is wanted of IPv4.
fn wanted(host: &Host) -> Wanted {
    only(&both(host), Family::V4)
}

fn only(wanted: &Wanted, family: Family) -> Wanted {
    let mut wanted = wanted.clone();
    wanted.addresses.retain(|address, _| Family::of(*address) == family);
    if let Some(path) = &mut wanted.return_path {
        path.routes.retain(|route| route.family() == family);
    }
    wanted
}

fn both(host: &Host) -> Wanted {
    let index = host.run("cat /sys/class/net/eth1/ifindex").parse().unwrap();
    let served = Address { services: BTreeSet::from([(Protocol::Tcp, 80)]), sources: None, closed: false };
    Wanted {
        interface: Interface { name: "eth1".into(), index, mac: Some(MAC) },
        other_interfaces: BTreeSet::from(["eth0".to_owned()]),
        addresses: BTreeMap::from(
            ["203.0.113.50", "2001:db8::50"].map(|address| (address.parse().unwrap(), served.clone())),
        ),
        guard: Some(Guard::Reject),
        return_path: Some(ReturnPath {
            mark: 0x1000,
            mask: 0x3000,
            table: 7401,
            priority: 7400,
            routes: BTreeSet::from([
                route("0.0.0.0/0", Some("203.0.113.1")),
                route("203.0.113.0/24", None),
                route("::/0", Some("2001:db8::1")),
                route("2001:db8::/64", None),
            ]),
        }),
    }
}

fn route(destination: &str, gateway: Option<&str>) -> Route {
    let gateway = gateway.map(|gateway| gateway.parse().unwrap());
    Route { destination: destination.parse().unwrap(), gateway }
}
