//! What the plane wants of the node's network, told to the container that may change it, and what came of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use foghorn_crds::{
    AddressClaim, GuardMode, InterfaceSelector, PlaneConfig,
    conditions::reasons::{self, DATAPATH_FINDINGS},
};
use foghorn_datapath::wanted::{
    Address, Answer, Guard, Interface, Message, Protocol, ReturnPath, Route, Wanted,
};
use foghorn_netio::Link;
use ipnet::IpNet;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use crate::{
    interface::Selector,
    pod_conditions::Telling,
    routers::{default_by, routers},
};

const RETRY: Duration = Duration::from_millis(500);
/// The container needs a moment to start; after that it is missed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The container, as the main loop sees it.
#[derive(Debug)]
pub struct Datapath {
    wanted: watch::Sender<Option<Arc<Message>>>,
    answers: watch::Receiver<Option<Telling>>,
}

impl Datapath {
    /// Speaks to the container over that socket, from a task that ends with this.
    #[must_use]
    pub fn start(socket: PathBuf) -> Self {
        let (wanted, to_tell) = watch::channel(None);
        let (told, answers) = watch::channel(None);
        tokio::spawn(speak(socket, to_tell, told));
        Self { wanted, answers }
    }

    /// That is wanted from now on.
    pub fn want(&self, message: Message) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_deref() != Some(&message);
            if changed {
                *wanted = Some(Arc::new(message));
            }
            changed
        });
    }

    /// Waits for what came of it. Nothing is lost if the wait is given up.
    pub async fn answered(&mut self) -> Option<Telling> {
        self.answers.changed().await.ok()?;
        self.answers.borrow_and_update().clone()
    }
}

async fn speak(
    socket: PathBuf,
    mut wanted: watch::Receiver<Option<Arc<Message>>>,
    told: watch::Sender<Option<Telling>>,
) {
    let began = Instant::now();
    while told.receiver_count() > 0 {
        match UnixStream::connect(&socket).await {
            Ok(stream) => {
                info!("connected to the container datapath");
                wanted.mark_changed();
                if let Err(error) = converse(stream, &mut wanted, &told).await {
                    warn!(%error, "the container datapath is gone, trying again");
                }
            }
            Err(error) if told.borrow().is_none() && began.elapsed() >= PATIENCE => {
                let message = format!("the container datapath cannot be reached: {error}");
                told.send_replace(Some(Telling { good: false, reason: reasons::NOT_CONNECTED, message }));
            }
            Err(_) => {}
        }
        sleep(RETRY).await;
    }
}

async fn converse(
    stream: UnixStream,
    wanted: &mut watch::Receiver<Option<Arc<Message>>>,
    told: &watch::Sender<Option<Telling>>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let Some(message) = wanted.borrow_and_update().clone() else { continue };
                let mut text = serde_json::to_vec(&*message)?;
                text.push(b'\n');
                writer.write_all(&text).await?;
            }
            line = lines.next_line() => {
                let Some(line) = line? else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
                told.send_replace(Some(telling(&serde_json::from_str(&line)?)));
            }
        }
    }
}

/// What came of it, for people.
fn telling(answer: &Answer) -> Telling {
    let Some(first) = answer.findings.first() else {
        if !answer.wanted {
            let message = "nothing of the plane is left on the node".to_owned();
            return Telling { good: true, reason: reasons::NOTHING_LEFT, message };
        }
        let message = "returnPath and guard are in force".to_owned();
        return Telling { good: true, reason: reasons::IN_FORCE, message };
    };
    let known = DATAPATH_FINDINGS.into_iter().find(|reason| *reason == first.reason);
    let messages: Vec<_> = answer.findings.iter().map(|finding| finding.message.as_str()).collect();
    let reason = known.unwrap_or(reasons::NOT_IN_FORCE);
    Telling { good: false, reason, message: messages.join("; ") }
}

/// What the plane wants on a node with these `links`, of which `link` is the plane's. `announced` are the addresses that
/// this node announces: they may be newer than what claims say.
#[must_use]
pub fn message(
    config: &PlaneConfig,
    link: &Link,
    links: &[Link],
    reached: &Routes,
    claims: &BTreeMap<String, Arc<AddressClaim>>,
    announced: &BTreeMap<Ipv4Addr, Arc<str>>,
) -> Message {
    let guard = match config.guard {
        GuardMode::Off => None,
        GuardMode::Drop => Some(Guard::Drop),
        GuardMode::Reject => Some(Guard::Reject),
    };
    // Where there is nothing to serve there is nothing to keep apart: so nothing is left when a plane ends.
    let nothing = claims.is_empty() || (guard.is_none() && config.return_path.is_none());
    let mut wanted = (!nothing).then(|| Wanted {
        interface: Interface { name: link.name.clone(), index: link.index, mac: link.mac },
        other_interfaces: others(&config.other_interfaces, link, links, reached),
        addresses: addresses(claims, announced),
        guard,
        return_path: config.return_path.map(|path| ReturnPath {
            mark: path.mark,
            mask: path.mask,
            table: path.table,
            priority: path.priority,
            routes: routes(path.gateway.map(IpAddr::from), link, claims),
        }),
    });
    // The operator bounds each claim; that it did is not relied on.
    if let Some(wanted) = &mut wanted {
        wanted.bound();
    }
    Message { planes: config.planes.iter().cloned().collect(), wanted }
}

/// The interfaces by which the node sends to the addresses that selectors of other planes ask for; none where it has no route.
pub type Routes = BTreeMap<Ipv4Addr, Option<u32>>;

/// The addresses whose routes choose the interfaces of other planes.
#[must_use]
pub fn routes_to_know(config: &PlaneConfig) -> BTreeSet<Ipv4Addr> {
    config.other_interfaces.iter().filter_map(|selector| selector.can_reach).collect()
}

fn others(
    selectors: &[InterfaceSelector],
    link: &Link,
    links: &[Link],
    reached: &Routes,
) -> BTreeSet<String> {
    let route = |selector: &Selector| reached.get(&selector.can_reach()?).copied().flatten();
    let selectors = selectors.iter().filter_map(|spec| Selector::new(spec).ok());
    let selectors: Vec<_> = selectors.map(|selector| (route(&selector), selector)).collect();
    let is_other = |other: &&Link| {
        other.index != link.index && selectors.iter().any(|(route, selector)| selector.matches(other, *route))
    };
    links.iter().filter(is_other).map(|other| other.name.clone()).collect()
}

/// What to say of interfaces of other planes that are not known: the guard does not drop what comes in by them.
#[must_use]
pub fn unknown_interfaces(config: &PlaneConfig, reached: &Routes) -> Option<String> {
    let is_unknown = |address: &Ipv4Addr| reached.get(address).is_none_or(Option::is_none);
    let unknown: Vec<_> =
        routes_to_know(config).into_iter().filter(is_unknown).map(|it| it.to_string()).collect();
    let is_told = config.guard != GuardMode::Off && !unknown.is_empty();
    is_told.then(|| {
        format!(
            "the guard does not drop what comes in by the interface of another plane: the node has no route to its canReach \
             {}; add one, or select that interface by name",
            unknown.join(", ")
        )
    })
}

fn addresses(
    claims: &BTreeMap<String, Arc<AddressClaim>>,
    announced: &BTreeMap<Ipv4Addr, Arc<str>>,
) -> BTreeMap<IpAddr, Address> {
    let told = claims.values().filter_map(|claim| Some((claim.status.as_ref()?.address?, claim)));
    let own = announced.iter().filter_map(|(address, name)| Some((*address, claims.get(&**name)?)));
    told.chain(own).map(|(address, claim)| (address.into(), served(claim))).collect()
}

fn served(claim: &AddressClaim) -> Address {
    let services = claim.spec.ports.iter().filter_map(|port| {
        let protocol = match port.protocol.as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => return None,
        };
        Some((protocol, u16::try_from(port.port).ok()?))
    });
    let sources = claim.spec.source_ranges.as_ref();
    let networks = |ranges: &Vec<String>| ranges.iter().filter_map(|range| range.parse().ok()).collect();
    Address { services: services.collect(), sources: sources.map(networks), closed: false }
}

/// The networks of the interface and of the leases, and by which routers others are reached: where leases differ, by the
/// one that most of them name.
fn routes(
    gateway: Option<IpAddr>,
    link: &Link,
    claims: &BTreeMap<String, Arc<AddressClaim>>,
) -> BTreeSet<Route> {
    let leases = || claims.values().filter_map(|claim| claim.status.as_ref()?.lease.as_ref());
    let network = |address: Ipv4Addr, bits| Some(IpNet::new(address.into(), bits).ok()?.trunc());
    let own = link.addresses.iter().filter_map(|(address, bits)| network(*address, *bits));
    let leased = leases().filter_map(|lease| network(lease.address, lease.prefix_length?));
    let mut routes: BTreeSet<_> =
        own.chain(leased).map(|destination| Route { destination, gateway: None }).collect();
    let mut chosen = routers(claims);
    chosen.extend(gateway.map(default_by));
    routes.extend(chosen.into_iter().map(|(destination, router)| Route {
        destination,
        gateway: Some(router).filter(|router| !router.is_unspecified()),
    }));
    routes
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{
        ClaimLease, ClaimPort,
        fixtures::{claim, config, lease},
    };

    use super::*;
    use crate::fixtures::{by_name, leased};

    #[test]
    fn a_plane_without_claims_or_without_features_wants_nothing_of_the_node() {
        let (link, one) = (link("eth1", 3), by_name([claim("a")]));
        let wanted = |config: &PlaneConfig, claims: &_| {
            message(config, &link, &[], &Routes::new(), claims, &BTreeMap::new()).wanted.is_some()
        };
        assert!(!wanted(&config(), &one));
        assert!(!wanted(&guarded(), &BTreeMap::new()));
        assert!(wanted(&guarded(), &one));
    }

    #[test]
    fn addresses_are_those_of_all_claims_and_those_that_are_announced_here() {
        let [mut a, mut b] = ["a", "b"].map(claim);
        a.spec.ports = vec![ClaimPort { name: None, protocol: "UDP".into(), port: 53 }];
        a.status.get_or_insert_default().address = Some([203, 0, 113, 50].into());
        b.spec.source_ranges = Some(vec!["10.0.0.0/8".into()]);
        let claims = by_name([a, b]);
        let announced =
            BTreeMap::from([([203, 0, 113, 51].into(), "b".into()), ([9; 4].into(), "gone".into())]);
        let addresses = addresses(&claims, &announced);
        let of = |last| addresses[&IpAddr::from([203, 0, 113, last])].clone();
        assert_eq!(addresses.len(), 2);
        assert_eq!(of(50).services, BTreeSet::from([(Protocol::Udp, 53)]));
        assert_eq!(of(51).sources, Some(vec!["10.0.0.0/8".parse().unwrap()]));
    }

    #[test]
    fn a_claim_beyond_its_bounds_is_closed_and_the_others_are_not() {
        let [mut a, mut b] = ["a", "b"].map(claim);
        let port = |port| ClaimPort { name: None, protocol: "TCP".into(), port };
        a.spec.ports = (1..=i32::from(u16::MAX)).map(port).collect();
        a.status.get_or_insert_default().address = Some([203, 0, 113, 50].into());
        b.spec.ports = vec![port(80)];
        b.status.get_or_insert_default().address = Some([203, 0, 113, 51].into());
        let (link, claims) = (link("eth1", 3), by_name([a, b]));
        let wanted =
            message(&guarded(), &link, &[], &Routes::new(), &claims, &BTreeMap::new()).wanted.unwrap();
        assert_eq!(wanted.closed().collect::<Vec<_>>(), [IpAddr::from([203, 0, 113, 50])]);
        assert_eq!(wanted.addresses[&IpAddr::from([203, 0, 113, 51])].services.len(), 1);
    }

    #[test]
    fn claims_have_the_same_bounds_as_the_rules() {
        use foghorn_datapath::bounds;
        assert_eq!(foghorn_crds::claim::PORTS_MAX, bounds::PORTS_MAX);
        assert_eq!(foghorn_crds::claim::SOURCE_RANGES_MAX, bounds::SOURCES_MAX);
    }

    #[test]
    fn the_default_route_is_by_the_router_that_most_leases_name_or_by_the_planes_gateway() {
        let leased = |name, address: u8, router: u8| {
            let routers = vec![[203, 0, 113, router].into()];
            leased(name, ClaimLease { routers, ..lease([203, 0, 113, address]) })
        };
        let claims = by_name([leased("a", 50, 9), leased("b", 51, 1), leased("c", 52, 1)]);
        let shown = |gateway| {
            let routes = routes(gateway, &link("eth1", 3), &claims);
            routes
                .iter()
                .map(|route| format!("{} {:?}", route.destination, route.gateway))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(None), ["0.0.0.0/0 Some(203.0.113.1)", "203.0.113.0/24 None"]);
        assert_eq!(shown(Some([203, 0, 113, 7].into()))[0], "0.0.0.0/0 Some(203.0.113.7)");
        let both = shown(Some("2001:db8::7".parse().unwrap()));
        assert_eq!((&*both[0], &*both[2]), ("0.0.0.0/0 Some(203.0.113.1)", "::/0 Some(2001:db8::7)"));
    }

    #[test]
    fn interfaces_of_other_planes_are_told_by_name() {
        let regex = InterfaceSelector { regex: Some("eth[0-9]".into()), ..InterfaceSelector::default() };
        let config = PlaneConfig { other_interfaces: vec![regex], ..guarded() };
        let claims = by_name([claim("a")]);
        let links = [link("eth0", 2), link("eth1", 3), link("wlan0", 4)];
        let message = message(&config, &links[1], &links, &Routes::new(), &claims, &BTreeMap::new());
        assert_eq!(message.wanted.unwrap().other_interfaces, BTreeSet::from(["eth0".to_owned()]));
    }

    #[test]
    fn the_interface_that_another_plane_reaches_an_address_by_is_told() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let reach = InterfaceSelector { can_reach: Some(address), ..InterfaceSelector::default() };
        let config = PlaneConfig { other_interfaces: vec![reach], ..guarded() };
        let (claims, links) = (by_name([claim("a")]), [link("eth0", 2), link("eth1", 3)]);
        let of = |route| {
            let reached = BTreeMap::from([(address, route)]);
            let message = message(&config, &links[1], &links, &reached, &claims, &BTreeMap::new());
            (message.wanted.unwrap().other_interfaces, unknown_interfaces(&config, &reached))
        };
        assert_eq!(routes_to_know(&config), BTreeSet::from([address]));
        assert_eq!(of(Some(2)), (BTreeSet::from(["eth0".to_owned()]), None));
        let (others, said) = of(None);
        assert!(others.is_empty() && said.unwrap().contains("no route to its canReach 192.0.2.1"));
        let off = PlaneConfig { guard: GuardMode::Off, ..config.clone() };
        assert_eq!(unknown_interfaces(&off, &Routes::new()), None, "nothing is dropped then");
    }

    #[test]
    fn findings_are_told_with_the_first_one_as_the_reason() {
        let finding = |reason: &str| foghorn_datapath::wanted::Finding {
            reason: reason.into(),
            message: format!("{reason} is wrong"),
        };
        let of = |findings| telling(&Answer { wanted: true, findings });
        let told = of(vec![finding("NoGateway"), finding("NoForwarding")]);
        assert_eq!(told.reason, "NoGateway");
        assert_eq!(told.message, "NoGateway is wrong; NoForwarding is wrong");
        assert_eq!(of(vec![finding("Unheard")]).reason, reasons::NOT_IN_FORCE);
        assert_eq!(of(Vec::new()).reason, reasons::IN_FORCE);
        assert_eq!(telling(&Answer::default()).reason, reasons::NOTHING_LEFT);
    }

    fn guarded() -> PlaneConfig {
        PlaneConfig { guard: GuardMode::Drop, ..config() }
    }

    fn link(name: &str, index: u32) -> Link {
        Link {
            index,
            name: name.into(),
            mac: None,
            admin_up: true,
            arp: true,
            carrier: true,
            master: None,
            kind: None,
            addresses: Vec::new(),
        }
    }
}
