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

/// What comes back is looked for each two seconds, and the table each ten.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn what_is_wanted_is_there_comes_back_and_leaves_nothing() {
    let host = Host::new("kept");
    let program = host.start(&[]);
    assert_eq!(host.say(Some(wanted(&host))), Answer { wanted: true, findings: Vec::new() });
    assert!(host.has_all());
    assert_eq!(host.filter(), "0");

    host.run("ip rule del pref 7400; ip route flush table 7401; nft flush ruleset");
    assert!(!host.has_all());
    host.until("all is there again", Host::has_all);

    drop(program);
    assert!(host.has_all(), "the traffic goes on without the program");
    let _program = host.start(&[]);
    let other = Wanted { return_path: None, ..wanted(&host) };
    assert!(host.say(Some(other)).findings.is_empty());
    host.until("the guard alone is left", |host| {
        host.table().contains("chain guard")
            && !host.rules().contains("proto 240")
            && host.routes().is_empty()
    });
    assert_eq!(host.filter(), "2", "as it was before");

    host.say(Some(wanted(&host)));
    assert!(host.has_all());
    assert_eq!(host.say(None), Answer::default());
    assert_eq!((host.table(), host.routes(), host.filter()), (String::new(), String::new(), "2".to_owned()));
    assert!(!host.rules().contains("proto 240"));
}

#[test]
fn what_a_plane_that_is_no_more_has_left_is_removed_by_another_one() {
    let host = Host::new("left");
    let program = host.start(&[]);
    host.say(Some(wanted(&host)));
    drop(program);
    let _program = host.start_as("private", &[]);
    host.say(None);
    host.until("nothing is left", |host| {
        host.table().is_empty() && !host.rules().contains("proto 240") && host.routes().is_empty()
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

/// A network namespace with an interface; it goes with its test.
struct Host {
    name: String,
    socket: PathBuf,
}

/// A program that ends when it is dropped, however.
struct Program(Child);

impl Host {
    fn new(test: &str) -> Self {
        let name = format!("fogdp-{test}-{}", std::process::id());
        let socket = std::env::temp_dir().join(format!("{name}.sock"));
        let host = Self { name, socket };
        assert!(Command::new("ip").args(["netns", "add", &host.name]).status().unwrap().success());
        host.run(
            "ip link add eth1 type veth peer name far; ip link set far up; ip link set eth1 up; \
             ip addr add 203.0.113.11/24 dev eth1; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth1.rp_filter=2",
        );
        host
    }

    /// What a shell's script there prints.
    fn run(&self, script: &str) -> String {
        let shell = ["netns", "exec", &self.name, "sh", "-c", script];
        let output = Command::new("ip").args(shell).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
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

    fn rules(&self) -> String {
        self.run("ip rule")
    }

    fn routes(&self) -> String {
        self.run("ip route show table 7401 2>/dev/null")
    }

    fn filter(&self) -> String {
        self.run("cat /proc/sys/net/ipv4/conf/eth1/rp_filter")
    }

    fn has_all(&self) -> bool {
        let routes = self.routes();
        self.table().contains("203.0.113.50 . tcp . 80")
            && self.rules().contains("fwmark 0x1000/0x3000 lookup 7401")
            && ["default via 203.0.113.1 dev eth1", "unreachable default", "203.0.113.0/24 dev eth1"]
                .iter()
                .all(|route| routes.contains(route))
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            let seen = || format!("{}\n{}\n{}", self.table(), self.rules(), self.routes());
            assert!(began.elapsed() < PATIENCE, "{what}:\n{}", seen());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ended = Command::new("ip").args(["netns", "del", &self.name]).status();
        let _gone = fs::remove_file(&self.socket);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn wanted(host: &Host) -> Wanted {
    let index = host.run("cat /sys/class/net/eth1/ifindex").parse().unwrap();
    let route = |destination: &str, gateway: Option<[u8; 4]>| Route {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(Into::into),
    };
    let services = BTreeSet::from([(Protocol::Tcp, 80)]);
    Wanted {
        interface: Interface { name: "eth1".into(), index },
        other_interfaces: BTreeSet::from(["eth0".to_owned()]),
        addresses: BTreeMap::from([([203, 0, 113, 50].into(), Address { services, sources: None })]),
        guard: Some(Guard::Reject),
        return_path: Some(ReturnPath {
            mark: 0x1000,
            mask: 0x3000,
            table: 7401,
            priority: 7400,
            routes: BTreeSet::from([
                route("0.0.0.0/0", Some([203, 0, 113, 1])),
                route("203.0.113.0/24", None),
            ]),
        }),
    }
}
