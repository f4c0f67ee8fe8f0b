//! A gateway that forwards ports, and a host that asks it.

mod forwarder;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use foghorn_gateway::{Listener, Speaker};
use foghorn_lab::{Daemon, Forwards, Host, miniupnpd::chains, until};
use foghorn_portmap::{Answer, Ask, Fault, Mapping, Notice, Port, Protocol, Request, Transport};
use tokio::select;

pub use self::forwarder::{Forwarder, description};
use crate::{SOON, address, task::Task, world::World};

/// The gateway's address on the segment.
pub const GATEWAY: Ipv4Addr = address(1);
/// Where it serves HTTP: its packets are among those that are recorded.
pub const HTTP: u16 = 8080;
/// Where it is asked by PCP and NAT-PMP.
pub const PCP: u16 = 5351;

/// miniupnpd, as the lab has it: the gateway of OpenWrt and of many routers.
#[derive(Debug)]
pub struct Miniupnpd {
    host: Host,
    /// On the outer network.
    far: Host,
}

impl Miniupnpd {
    /// Starts one on the router of the world.
    #[must_use]
    pub fn start(world: &World, how: Forwards) -> Self {
        let (host, far) = world.router("far");
        let gateway = Self { host, far };
        gateway.forward_nothing();
        gateway.restart(how);
        gateway
    }

    /// Starts it anew.
    pub fn restart(&self, how: Forwards) {
        let config = self.host.dir().join("miniupnpd.conf");
        let options = how.config(HTTP, 1, "1024-65535", "203.0.113.0/24");
        // A node looks for a gateway again when it first hears it announce itself. This is soon, so that tests can count questions.
        fs::write(&config, format!("{options}notify_interval=5\n")).unwrap();
        let config = config.display().to_string();
        let pid_file = self.pid_file().display().to_string();
        self.daemon().start(&["miniupnpd", "-d", "-f", &config, "-P", &pid_file]).unwrap();
        until("miniupnpd listens", SOON, || {
            self.daemon().check()?;
            let sockets = self.host.exec(&["ss", "-Hltun"])?;
            let listens = |port: u16| sockets.contains(&format!(":{port} "));
            Ok(((!how.upnp || listens(HTTP)) && (!how.pcp || listens(PCP))).then_some(()))
        })
        .unwrap();
    }

    /// Ends it as it wants to end.
    pub fn stop(&self) {
        self.daemon().stop().unwrap();
    }

    /// Ends it as if it had lost power: it announces nothing, and its table is empty.
    pub fn lose_power(&self) {
        self.daemon().kill().unwrap();
        // From this file the next one would take it for still running.
        fs::remove_file(self.pid_file()).unwrap();
        self.forward_nothing();
    }

    /// The ports that it forwards, in order, each with the address and the port behind it. They are read from the kernel's
    /// rules: miniupnpd itself lists them by UPnP only.
    #[must_use]
    pub fn table(&self) -> Vec<(u16, SocketAddrV4)> {
        let rules = self.host.exec(&["nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"]);
        let mut table: Vec<_> = rules.unwrap().lines().filter_map(forwarded).collect();
        table.sort_unstable();
        table
    }

    /// Answers no search but those by multicast from now on.
    pub fn answer_multicast_only(&self) {
        let drop = format!("ip daddr {GATEWAY} udp dport 1900 drop");
        filter(&self.host, &drop);
    }

    /// Who answers a host on the outer network at this port of the gateway, by its address.
    #[must_use]
    pub fn behind(&self, port: u16) -> Option<String> {
        let connect = move || {
            let outer = SocketAddr::from(([198, 51, 100, 1], port));
            let mut stream = TcpStream::connect_timeout(&outer, Duration::from_secs(2)).ok()?;
            let mut said = String::new();
            stream.read_to_string(&mut said).ok().map(|_| said)
        };
        self.far.inside(connect).unwrap().join().unwrap().unwrap()
    }

    fn daemon(&self) -> Daemon<'_> {
        Daemon::new(&self.host, "miniupnpd")
    }

    fn pid_file(&self) -> PathBuf {
        self.host.dir().join("own-pid")
    }

    /// Makes the chains that it fills in, empty.
    fn forward_nothing(&self) {
        let rules = self.host.dir().join("rules.nft");
        let anew = format!("table inet filter {{ }}\ndelete table inet filter\n{}", chains(""));
        fs::write(&rules, anew).unwrap();
        self.host.exec(&["nft", "-f", &rules.display().to_string()]).unwrap();
    }
}

/// `iif "eth1" @nh,72,8 0x6 th dport 8000 dnat ip to 203.0.113.111:80`.
fn forwarded(rule: &str) -> Option<(u16, SocketAddrV4)> {
    let (_, way) = rule.split_once("dport ")?;
    let (external, to) = way.trim().split_once(" dnat ip to ")?;
    Some((external.parse().ok()?, to.parse().ok()?))
}

/// A rule for what a host receives.
fn filter(host: &Host, rule: &str) {
    let chain = "{ type filter hook input priority 0; policy accept; }";
    let rules = format!(
        "add table inet guard\nadd chain inet guard input {chain}\nadd rule inet guard input {rule}\n"
    );
    let file = host.dir().join("guard.nft");
    fs::write(&file, rules).unwrap();
    host.exec(&["nft", "-f", &file.display().to_string()]).unwrap();
}

/// A host that asks from an address of its own.
#[derive(Debug)]
pub struct Asker {
    host: Host,
    source: Ipv4Addr,
    speaker: Option<Speaker>,
}

impl Asker {
    /// A new host with this address, and with the next hundred's for its Service.
    #[must_use]
    pub fn new(world: &World, name: &str, last: u8) -> Self {
        let source = address(last + 100);
        let host = host_of_service(world, name, last, source);
        Self { host, source, speaker: Some(Speaker::new("eth0")) }
    }

    /// Where it asks from.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// Receives no answers to searches by SSDP at its Service's address from now on.
    pub fn guard(&self) {
        filter(&self.host, &format!("ip daddr {} udp sport 1900 drop", self.source));
    }

    /// Serves a port of its Service from now on: it says its address.
    pub fn serve(&self, port: u16) {
        serve(&self.host, SocketAddrV4::new(self.source, port), self.source.to_string());
    }

    /// Asks the gateway.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(&mut self, protocol: Protocol, ask: Ask) -> Result<Answer, Fault> {
        let mut speaker = self.speaker.take().unwrap();
        let said = format!("{} asks by {protocol}: {ask:?}", self.source);
        let request =
            Request { number: 1, gateway: GATEWAY, protocol, source: self.source, claim: "web".into(), ask };
        let asking = self.host.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let answer = runtime.block_on(speaker.ask(&request));
            (speaker, answer)
        });
        let (speaker, answer) = asking.unwrap().join().unwrap().unwrap();
        self.speaker = Some(speaker);
        println!("{said}\n    {answer:?}");
        answer
    }
}

/// A new host with this last octet, and with an address of a Service.
fn host_of_service(world: &World, name: &str, last: u8, source: Ipv4Addr) -> Host {
    let host = world.host(name, last);
    host.ip(&format!("addr add {source}/32 dev eth0\nroute add default via {GATEWAY}\n")).unwrap();
    host
}

/// Answers every connection on a host with these words.
fn serve(host: &Host, at: SocketAddrV4, words: String) {
    let (ready, open) = mpsc::channel();
    let serve = move || {
        let listener = TcpListener::bind(at).unwrap();
        ready.send(()).unwrap();
        // It ends with the test program.
        for stream in listener.incoming() {
            let _gone = stream.unwrap().write_all(words.as_bytes());
        }
    };
    drop(host.inside(serve).unwrap());
    open.recv_timeout(SOON).unwrap();
}

/// A port of TCP.
#[must_use]
pub fn tcp(number: u16) -> Port {
    Port { transport: Transport::Tcp, number }
}

/// A mapping that is asked for: a port of TCP, for an hour.
#[must_use]
pub fn mapping(number: u16, external: u16) -> Mapping {
    Mapping {
        port: tcp(number),
        external,
        lease: Some(Duration::from_secs(3600)),
        description: format!("Foghorn {number}"),
        nonce: [7; 12],
    }
}

/// What is heard on a host unasked.
#[derive(Debug)]
pub struct Hearing {
    heard: Arc<Mutex<Vec<(Ipv4Addr, Notice)>>>,
    _listening: Task,
}

impl Hearing {
    /// Listens on a host from now on.
    #[must_use]
    pub fn on(host: &Host) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        let (ready, opened) = mpsc::channel();
        let listening = Task::start(host, move |mut stop| async move {
            let mut listener = Listener::open("eth0").unwrap();
            ready.send(()).unwrap();
            loop {
                select! {
                    heard = listener.next() => notes.lock().unwrap_or_else(PoisonError::into_inner).push(heard),
                    _stop = &mut stop => return,
                }
            }
        });
        opened.recv_timeout(SOON).unwrap();
        Self { heard, _listening: listening }
    }

    /// Waits for what is heard of the gateway next, if it is heard soon.
    #[must_use]
    pub fn next(&self) -> Notice {
        until("a gateway is heard", SOON, || {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            Ok((!heard.is_empty()).then(|| heard.remove(0)))
        })
        .map(|(from, notice)| {
            assert_eq!(from, GATEWAY);
            notice
        })
        .unwrap()
    }
}
