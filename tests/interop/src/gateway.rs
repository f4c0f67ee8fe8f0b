//! A gateway that forwards ports, and a host that asks it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use foghorn_announcer::{
    forwarding::{Forwarding, ForwardingMetrics, Wanted},
    report::Permit,
};
use foghorn_clock::Instant;
use foghorn_gateway::{Listener, Speaker};
use foghorn_lab::{Daemon, Forwards, Host, miniupnpd::chains, until};
use foghorn_portmap::{
    self as portmap, Answer, Ask, Config, Fault, Mapping, Notice, Plane, Port, Protocol, Report, Request,
    Transport,
};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    select,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

use crate::{SOON, address, task::Task, world::World};

/// The gateway's address on the segment.
pub const GATEWAY: Ipv4Addr = address(1);
/// Where it serves HTTP: its packets are among those that are recorded.
const HTTP: u16 = 8080;

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
        let rules = host.dir().join("rules.nft");
        fs::write(&rules, chains("")).unwrap();
        host.exec(&["nft", "-f", &rules.display().to_string()]).unwrap();
        let gateway = Self { host, far };
        gateway.restart(how);
        gateway
    }

    /// Starts it anew.
    pub fn restart(&self, how: Forwards) {
        let config = self.host.dir().join("miniupnpd.conf");
        fs::write(&config, how.config(HTTP, 1, "1024-65535", "203.0.113.0/24")).unwrap();
        let config = config.display().to_string();
        let pid_file = self.host.dir().join("own-pid").display().to_string();
        self.daemon().start(&["miniupnpd", "-d", "-f", &config, "-P", &pid_file]).unwrap();
        until("miniupnpd listens", SOON, || {
            self.daemon().check()?;
            let listeners = self.host.exec(&["ss", "-Hltn", &format!("sport = :{HTTP}")])?;
            Ok(listeners.contains(&HTTP.to_string()).then_some(()))
        })
        .unwrap();
    }

    /// Ends it as it wants to end.
    pub fn stop(&self) {
        self.daemon().stop().unwrap();
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
        let (host, source) = host_of_service(world, name, last);
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
        let source = self.source;
        let (ready, open) = mpsc::channel();
        let serve = move || {
            let listener = TcpListener::bind((source, port)).unwrap();
            ready.send(()).unwrap();
            // It ends with the test program.
            for stream in listener.incoming() {
                let _gone = stream.unwrap().write_all(source.to_string().as_bytes());
            }
        };
        drop(self.host.inside(serve).unwrap());
        open.recv_timeout(SOON).unwrap();
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

/// A new host with this address, and with the next hundred's for its Service.
fn host_of_service(world: &World, name: &str, last: u8) -> (Host, Ipv4Addr) {
    let (host, source) = (world.host(name, last), address(last + 100));
    host.ip(&format!("addr add {source}/32 dev eth0\nroute add default via {GATEWAY}\n")).unwrap();
    (host, source)
}

/// A node that has the gateway forward ports to its Service, as an announcer does. When this is dropped it is gone, without a word
/// to the gateway.
#[derive(Debug)]
pub struct Forwarder {
    source: Ipv4Addr,
    wanted: UnboundedSender<Wanted>,
    told: Arc<Mutex<BTreeMap<Arc<str>, Report>>>,
    _forwarding: Task,
}

impl Forwarder {
    /// A new host with this address, and with the next hundred's for its Service.
    #[must_use]
    pub fn new(world: &World, name: &str, last: u8) -> Self {
        let (host, source) = host_of_service(world, name, last);
        let (wanted, mut wishes) = unbounded_channel();
        let told = Arc::<Mutex<BTreeMap<Arc<str>, Report>>>::default();
        let notes = Arc::clone(&told);
        let forwarding = Task::start(&host, move |mut stop| async move {
            let permit: Permit = Arc::new(|_| Instant::NEVER);
            let metrics = ForwardingMetrics::default();
            let mut forwarding = Forwarding::start(permit, StdRng::seed_from_u64(1), metrics);
            loop {
                select! {
                    Some(wanted) = wishes.recv() => forwarding.want(wanted),
                    Some((claim, report)) = forwarding.reported() => {
                        notes.lock().unwrap_or_else(PoisonError::into_inner).insert(claim, report);
                    }
                    _stop = &mut stop => return,
                }
            }
        });
        Self { source, wanted, told, _forwarding: forwarding }
    }

    /// Where the gateway forwards to.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// That is to be forwarded to its claim of this name: each port with the gateway's. None is left of any other claim of the plane.
    pub fn want(&self, claim: &str, ports: &[(u16, u16)], ending: bool) {
        let description = description(claim);
        let of_claim = portmap::Wanted {
            address: self.source,
            description: description.clone(),
            lease: Some(Duration::from_secs(3600)),
            secret: [7; 32],
            ports: ports.iter().map(|(port, external)| (tcp(*port), *external)).collect(),
            had: BTreeMap::new(),
            ending,
        };
        let config = Config {
            protocols: vec![Protocol::Igd],
            another: false,
            ports: vec![RangeInclusive::new(1024, 65535)],
        };
        let plane = Plane {
            reserved: BTreeMap::new(),
            prefix: PREFIX.to_owned(),
            descriptions: BTreeSet::from([description]),
        };
        let wanted = Wanted {
            interface: Some("eth0".to_owned()),
            config: Some(config),
            gateway: Some(GATEWAY),
            claims: BTreeMap::from([(claim.into(), of_claim)]),
            plane,
        };
        self.wanted.send(wanted).unwrap();
    }

    /// What was told of a claim last.
    #[must_use]
    pub fn told(&self, claim: &str) -> Report {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(claim).cloned().unwrap_or_default()
    }
}

/// What the descriptions of the plane's claims begin with.
const PREFIX: &str = "foghorn 1a2b3c4d ";

/// How mappings of a claim of this name are described.
#[must_use]
pub fn description(claim: &str) -> String {
    format!("{PREFIX}{claim}")
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
