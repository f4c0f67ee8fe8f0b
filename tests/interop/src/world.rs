//! An Ethernet segment with hosts on it, each a network namespace.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use foghorn_crds::{AddressClaimStatus, PlaneConfig};
use foghorn_lab::{Host, Lab, LabName, Wire, labs, state_dir, until};

use crate::{Node, Repeater, Rule, Scope, Server, Store, claim, config, packages, repeater};

/// What the names of all worlds begin with; then come the process that made it, and its number there.
const PREFIX: &str = "fi";
/// ARP and DHCP; SSDP, PCP and NAT-PMP, and the port of miniupnpd's HTTP.
const WATCHED: &str = "arp or port 67 or port 68 or port 1900 or port 5350 or port 5351 or tcp port 8080";
/// How long to wait for what comes soon.
pub const SOON: Duration = Duration::from_secs(20);
/// The hardware address of the host `w1`, 203.0.113.11.
pub const W1: &str = "02:0f:09:00:00:0b";
/// The hardware address of the host `w2`, 203.0.113.12.
pub const W2: &str = "02:0f:09:00:00:0c";

/// Worlds are made and ended one after the other, also by other processes: there is one list of namespaces.
const LOCK: &str = "/run/lock/foghorn-interop";

/// The address of the segment, 203.0.113.0/24, with this last octet.
#[must_use]
pub const fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// A segment with a switch in its middle, and the claims of a plane on it. With its end all of it is gone; if that is
/// a failed test's, what was seen and said is printed first.
#[derive(Debug)]
pub struct World {
    name: LabName,
    switch: Host,
    /// The client, 203.0.113.200.
    pub client: Host,
    /// All frames of ARP and DHCP, and of what is spoken with gateways, on the switch.
    pub wire: Wire,
    /// The claims.
    pub store: Store,
    views: AtomicU32,
}

impl World {
    /// A segment with nobody but the client on it.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        packages::install();
        let turn = one_at_a_time();
        end_crashed();
        let name = format!("{PREFIX}-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = name.parse().unwrap();
        let switch = new_host(&name, "switch");
        switch.ip("link add br0 type bridge mcast_snooping 0\nlink set br0 up\n").unwrap();
        drop(turn);
        let client = host_on(&switch, &name, "client", 200);
        let wire = Wire::start(&switch, "br0", WATCHED).unwrap();
        Self { name, switch, client, wire, store: Store::default(), views: AtomicU32::new(1) }
    }

    /// A segment with a server, the node `w1` and the claim `web`, which has its address.
    #[must_use]
    pub fn leasing<S: Server>(scope: &Scope) -> (Self, S, Node, Ipv4Addr) {
        let world = Self::new();
        let server = world.server("server", 2, scope);
        let node = world.node(1, config());
        world.store.put(claim("web"));
        let leased = world.address("web", 10);
        (world, server, node, leased)
    }

    /// The switch: `br0`, with a port for each host that has its name.
    #[must_use]
    pub fn switch(&self) -> &Host {
        &self.switch
    }

    /// A new host with its `eth0` on the segment; its name has at most 15 letters.
    #[must_use]
    pub fn host(&self, name: &str, last: u8) -> Host {
        host_on(&self.switch, &self.name, name, last)
    }

    /// A new host as [`Self::host`] makes it, with a repeater in its cable.
    #[must_use]
    pub fn host_behind(&self, name: &str, last: u8, rule: impl Rule) -> (Host, Repeater) {
        let turn = one_at_a_time();
        let [inside, outside] = repeater::PORTS;
        let in_between = new_host(&self.name, &format!("{name}-cable"));
        let host = new_host(&self.name, name);
        connect(&self.switch, name, &in_between, &format!("name {outside}"));
        self.switch.ip(&format!("link set {name} master br0\n")).unwrap();
        connect(&in_between, inside, &host, &eth0(last));
        in_between.ip(&format!("link set {outside} up\n")).unwrap();
        set_up(&host, last);
        drop(turn);
        forwards(&self.switch, name);
        let repeater = Repeater::start(&in_between, rule);
        (host, repeater)
    }

    /// A new host whose `eth0` is a macvlan on the network card of another: it receives what is sent to its own hardware
    /// address and nothing that is sent to others.
    #[must_use]
    pub fn host_on_macvlan(&self, name: &str, last: u8) -> Host {
        let card = self.host(&format!("{name}-card"), last + 100);
        let _turn = one_at_a_time();
        let host = new_host(&self.name, name);
        let macvlan =
            format!("link add link eth0 name own address {} type macvlan mode bridge", mac_text(last));
        card.ip(&format!("{macvlan}\nlink set own netns {} name eth0\n", host.namespace())).unwrap();
        set_up(&host, last);
        host
    }

    /// A new host whose `eth0` is a bridge, with the cable and perhaps machines behind it.
    #[must_use]
    pub fn host_on_bridge(&self, name: &str, last: u8) -> Host {
        let turn = one_at_a_time();
        let host = new_host(&self.name, name);
        connect(&self.switch, name, &host, "name cable");
        self.switch.ip(&format!("link set {name} master br0\n")).unwrap();
        let bridge = format!("link add eth0 address {} type bridge mcast_snooping 0", mac_text(last));
        host.ip(&format!("{bridge}\nlink set cable master eth0 up\n")).unwrap();
        set_up(&host, last);
        drop(turn);
        forwards(&self.switch, name);
        forwards(&host, "cable");
        host
    }

    /// A router, 203.0.113.1, and behind it a new host with the address 198.51.100.2.
    #[must_use]
    pub fn router(&self, far: &str) -> (Host, Host) {
        let router = self.host("router", 1);
        let _turn = one_at_a_time();
        let far = new_host(&self.name, far);
        let (inside, up) = (far.namespace(), "link set lo up\nlink set eth0 up\n");
        router.sysctl(vec![("ipv4/ip_forward", "1")]).unwrap();
        router
            .ip(&format!(
                "link add eth1 type veth peer name eth0 netns {inside}\nlink set eth1 up\n\
                 addr add 198.51.100.1/24 dev eth1\n"
            ))
            .unwrap();
        far.ip(&format!("{up}addr add 198.51.100.2/24 dev eth0\nroute add default via 198.51.100.1\n"))
            .unwrap();
        (router, far)
    }

    /// A server on a new host that serves the scope.
    #[must_use]
    pub fn server<S: Server>(&self, name: &str, last: u8, scope: &Scope) -> S {
        let server = S::on(self.host(name, last));
        server.start(scope).unwrap();
        server
    }

    /// A node on a new host. `w1` has 203.0.113.11.
    #[must_use]
    pub fn node(&self, number: u8, config: PlaneConfig) -> Node {
        self.node_on(&self.host(&format!("w{number}"), 10 + number), config)
    }

    /// A node on a host that is there. It takes the plane over from the one before.
    #[must_use]
    pub fn node_on(&self, host: &Host, config: PlaneConfig) -> Node {
        Node::start(host, config, &self.store, self.views.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits until the status of a claim is such, and gives what `look` found in it.
    pub fn until<T>(
        &self,
        what: &str,
        claim: &str,
        seconds: u64,
        look: impl Fn(&AddressClaimStatus) -> Option<T>,
    ) -> T {
        let found = until(what, Duration::from_secs(seconds), || Ok(look(&self.store.status(claim))));
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.store.status(claim)))
    }

    /// Waits until a claim has an address that is announced, and gives it.
    pub fn address(&self, claim: &str, seconds: u64) -> Ipv4Addr {
        self.until("an address", claim, seconds, |status| status.address)
    }

    /// Waits until the leases of all of these claims have later ends.
    pub fn renewed(&self, claims: &[&str]) {
        let end =
            |status: &AddressClaimStatus| status.lease.as_ref().and_then(|lease| lease.expires_at.clone());
        let before: Vec<_> = claims.iter().map(|claim| end(&self.store.status(claim))).collect();
        for (claim, before) in claims.iter().zip(before) {
            self.until("a renewal", claim, 20, |status| (end(status) > before).then_some(()));
        }
    }

    /// The reason of the condition of a claim.
    #[must_use]
    pub fn reason(&self, claim: &str) -> String {
        self.store.status(claim).conditions.first().map(|c| c.reason.clone()).unwrap_or_default()
    }

    /// The hardware addresses that answer for an address.
    #[must_use]
    pub fn who_has(&self, address: Ipv4Addr) -> Vec<String> {
        self.client.who_has("eth0", address).unwrap().into_iter().collect()
    }

    fn tell(&self) {
        println!("--- reported\n{}--- on the wire\n{}", self.store.told(), self.wire.lines().join("\n"));
        for host in files(&state_dir(&self.name)) {
            for log in files(&host).iter().filter(|file| file.extension().is_some_and(|end| end == "log")) {
                println!("--- {}\n{}", log.display(), fs::read_to_string(log).unwrap_or_default());
            }
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _turn = one_at_a_time();
        if thread::panicking() {
            self.tell();
        }
        match Lab::down(&self.name) {
            Err(error) if !thread::panicking() => panic!("{error}"),
            _ => {}
        }
    }
}

fn host_on(switch: &Host, world: &LabName, name: &str, last: u8) -> Host {
    let turn = one_at_a_time();
    let host = new_host(world, name);
    connect(switch, name, &host, &eth0(last));
    switch.ip(&format!("link set {name} master br0\n")).unwrap();
    set_up(&host, last);
    drop(turn);
    forwards(switch, name);
    host
}

/// Waits until a bridge forwards from this port: the kernel takes up to a second to notice that there is a carrier.
fn forwards(bridge: &Host, port: &str) {
    until(&format!("{port} forwards"), SOON, || {
        let state = bridge.exec(&["bridge", "link", "show", "dev", port])?;
        Ok(state.contains("state forwarding").then_some(()))
    })
    .unwrap();
}

/// A cable from one host to another.
fn connect(from: &Host, interface: &str, to: &Host, end: &str) {
    let cable = format!("link add {interface} type veth peer {end} netns {}", to.namespace());
    from.ip(&format!("{cable}\nlink set {interface} up\n")).unwrap();
}

fn eth0(last: u8) -> String {
    format!("name eth0 address {}", mac_text(last))
}

fn set_up(host: &Host, last: u8) {
    let up = "link set lo up\nlink set eth0 up\n";
    host.ip(&format!("{up}addr add {}/24 dev eth0\n", address(last))).unwrap();
}

/// A host without a cable. No IPv6: nothing is on the wire but what the test is about.
fn new_host(world: &LabName, name: &str) -> Host {
    let host = Host::new(world, name);
    host.create().unwrap();
    let off = ["ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"];
    host.sysctl(off.map(|key| (key, "1")).to_vec()).unwrap();
    host
}

/// The hardware address of the host with this last octet.
#[must_use]
pub const fn mac(last: u8) -> [u8; 6] {
    [0x02, 0x0f, 0x09, 0, 0, last]
}

fn mac_text(last: u8) -> String {
    mac(last).map(|octet| format!("{octet:02x}")).join(":")
}

/// Ends the worlds of processes that are no more; another process may be about to do the same.
fn end_crashed() {
    for name in labs() {
        let process = name.as_str().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let process = process.and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            Lab::down(&name).unwrap_or_else(|error| println!("{error}"));
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    files
}

/// Waits for the turn, which ends when this is dropped.
fn one_at_a_time() -> File {
    let lock = File::create(LOCK).unwrap();
    lock.lock().unwrap();
    lock
}
