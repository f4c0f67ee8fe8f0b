mod lease;
mod nodes;

use std::{cell::RefCell, collections::BTreeMap, sync::Mutex, time::Duration};

use foghorn_membership::{
    Body, Claim, ClaimId, Epoch, Grant, Health, Holding, MemberId, Message, Path, Placement, Timings, To,
    View,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use self::{
    lease::Lease,
    nodes::{Nodes, address, on_two_nodes, until},
};
use super::*;

#[test]
fn a_message_goes_both_ways_in_as_many_frames_as_it_needs() {
    on_two_nodes(async |nodes| {
        let [mut one, mut two] = transports(&nodes).await;
        let holding = Holding { claim: ClaimId(1), grant: Grant::default() };
        let message = message(Body::Taken(vec![holding; 5_000]));
        one.send(clock::now(), &To::All, &message, Some(&view()));
        assert_eq!(received(&mut two, 2).await, [(Path::Wire, message.clone()), (Path::Udp, message)]);
    });
}

#[test]
fn one_that_is_not_known_to_any_view_gets_messages_once_it_is_heard() {
    on_two_nodes(async |nodes| {
        let [mut one, mut two] = transports(&nodes).await;
        let vote = message(Body::Vote(Epoch::default(), MemberId(1)));
        one.send(clock::now(), &To::All, &vote, Some(&view()));
        received(&mut two, 2).await;
        let answer = Message { from: MemberId(2), ..vote };
        two.send(clock::now(), &To::All, &answer, None);
        assert_eq!(received(&mut one, 2).await, [(Path::Wire, answer.clone()), (Path::Udp, answer.clone())]);
        two.send(clock::now(), &To::Only(vec![MemberId(1)]), &answer, None);
        assert_eq!(received(&mut one, 2).await, [(Path::Wire, answer.clone()), (Path::Udp, answer)]);
    });
}

#[test]
fn an_interface_that_is_left_and_taken_again_is_heard_again_and_udp_goes_on() {
    on_two_nodes(async |nodes| {
        let [mut one, mut two] = transports(&nodes).await;
        let vote = message(Body::Vote(Epoch::default(), MemberId(1)));
        let mut ways = async |one: &mut Transport, number| {
            one.send(clock::now(), &To::All, &vote, Some(&view()));
            received(&mut two, number).await.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        one.set_link(clock::now(), None);
        assert_eq!(ways(&mut one, 1).await, [Path::Udp]);
        let link = nodes.link(0).await;
        nodes.enter(0);
        one.set_link(clock::now(), Some(link));
        assert_eq!(ways(&mut one, 2).await, [Path::Wire, Path::Udp]);
    });
}

#[test]
fn members_hear_each_other_by_both_ways_and_each_claim_has_one_holder() {
    on_two_nodes(async |nodes| {
        let [one, two] = members(&nodes).await;
        assert_ne!(one.rights.standing().coordinator, two.rights.standing().coordinator);
        for claim in CLAIMS {
            assert_ne!(one.holds(&[claim]), two.holds(&[claim]), "{claim:?}");
        }
        until("both ways are heard", || one.hears() == [true, true] && two.hears() == [true, true]).await;
    });
}

#[test]
fn what_a_member_held_that_is_no_more_the_other_has_within_a_second() {
    on_two_nodes(async |nodes| {
        let [one, two] = members(&nodes).await;
        // Who came second may have nothing: a node that joins moves no claim.
        let (holder, other) = if one.holds(&CLAIMS[..1]) { (one, two) } else { (two, one) };
        assert!(!other.holds(&CLAIMS));
        let began = clock::now();
        holder.end().await;
        assert!(CLAIMS.iter().all(|claim| holder.rights.until(*claim) == Instant::ZERO));
        until("the other has all", || other.holds(&CLAIMS)).await;
        let took = clock::now() - began;
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn one_way_is_enough_and_it_shows_which_is_left() {
    on_two_nodes(async |nodes| {
        let [one, two] = members(&nodes).await;
        let epoch = one.rights.standing().epoch;
        nodes.ip(0, "link set eth0 down");
        until("the wire is silent", || one.hears() == [false, true] && two.hears() == [false, true]).await;
        nodes.ip(0, "link set eth0 up");
        until("the wire is back", || one.hears() == [true, true] && two.hears() == [true, true]).await;
        nodes.ip(0, "link set mgmt0 down");
        until("UDP is silent", || one.hears() == [true, false] && two.hears() == [true, false]).await;
        for rights in [one.rights, two.rights] {
            assert_eq!(rights.standing().epoch, epoch, "another view");
            assert!(rights.standing().permit > clock::now());
        }
    });
}

#[test]
fn keys_are_changed_without_a_pause() {
    on_two_nodes(async |nodes| {
        let [one, two] = members(&nodes).await;
        let epoch = one.rights.standing().epoch;
        for ids in [&[1, 2][..], &[2]] {
            for member in [&one, &two] {
                member.keys.send(keys(ids)).unwrap();
                for _ in 0..20 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let permits = [&one, &two].map(|member| member.rights.standing().permit);
                    assert!(permits.iter().all(|permit| *permit > clock::now()));
                }
            }
        }
        assert_eq!(one.hears(), [true, true]);
        assert_eq!(one.rights.standing().epoch, epoch, "another view");
        assert_eq!([one.refused(), two.refused()], [0, 0]);
    });
}

#[test]
fn a_port_that_another_has_is_named_and_is_free_after_the_end() {
    on_two_nodes(async |nodes| {
        let start = async || {
            nodes.enter(0);
            Heartbeats::start(setup(0, HeartbeatMetrics::default())).await
        };
        let first = start().await.unwrap();
        let second = start().await.unwrap_err();
        assert!(second.to_string().contains("UDP port 7946 of this node is in use"), "{second}");
        first.stop().await;
        // A program that another test starts just now has this one's sockets for a moment.
        let free = async { while start().await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(5), free).await.unwrap();
    });
}

/// A member on its node, with a main loop.
struct Running {
    rights: Arc<Rights>,
    paths: Arc<Mutex<Paths>>,
    registry: Registry,
    keys: UnboundedSender<Keys>,
    stop: RefCell<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

impl Running {
    async fn start(nodes: &Nodes, node: usize, lease: Lease) -> Self {
        let mut registry = Registry::default();
        let metrics = HeartbeatMetrics::register(&mut registry);
        let link = nodes.link(node).await;
        let mut heartbeats = Heartbeats::start(setup(node, metrics)).await.unwrap();
        heartbeats.set_link(Some(link));
        heartbeats.tell(Input::Health(Health { carrier: true, gateway: None, subnets: vec![] }));
        CLAIMS.iter().for_each(|claim| heartbeats.tell(Input::Claim(*claim, Claim::default())));
        heartbeats.tell(Input::Ready(true));
        let rights = Arc::clone(heartbeats.rights());
        let paths = Arc::new(Mutex::new(Paths::new()));
        let told = Arc::clone(&paths);
        let (keys, mut new_keys) = mpsc::unbounded_channel();
        let (stop, mut stopped) = oneshot::channel::<oneshot::Sender<()>>();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    output = heartbeats.next() => {
                        lease.serve(output.unwrap()).into_iter().for_each(|input| heartbeats.tell(input));
                    }
                    Some(keys) = new_keys.recv() => heartbeats.set_keys(keys),
                    ended = &mut stopped => {
                        heartbeats.stop().await;
                        return ended.unwrap().send(()).unwrap();
                    }
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        *told.lock().unwrap() = heartbeats.paths().await.unwrap();
                    }
                }
            }
        });
        Self { rights, paths, registry, keys, stop: RefCell::new(Some(stop)) }
    }

    async fn end(&self) {
        let (ended, end) = oneshot::channel();
        self.stop.take().unwrap().send(ended).unwrap();
        end.await.unwrap();
    }

    fn holds(&self, claims: &[ClaimId]) -> bool {
        claims.iter().all(|claim| self.rights.until(*claim) > clock::now())
    }

    /// Whether the other one is heard, on the plane's own network and by UDP.
    fn hears(&self) -> [bool; 2] {
        let paths = self.paths.lock().unwrap();
        let lately = clock::now().saturating_sub(Duration::from_millis(300));
        paths.first().map_or([false; 2], |of| [of.wire, of.udp].map(|at| at > Some(lately)))
    }

    fn refused(&self) -> usize {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines().filter(|line| line.starts_with("foghorn_heartbeats_refused_total")).count()
    }
}

/// Two members that have one view, and all claims.
async fn members(nodes: &Nodes) -> [Running; 2] {
    let lease = Lease::default();
    let members = [Running::start(nodes, 0, lease.clone()).await, Running::start(nodes, 1, lease).await];
    until("both are members and hold all claims", || {
        let share = |member: &Running| CLAIMS.iter().filter(|claim| member.holds(&[**claim])).count();
        members.iter().all(|member| member.rights.standing().members == 2)
            && members.iter().map(share).sum::<usize>() == CLAIMS.len()
    })
    .await;
    members
}

/// Transports of both nodes; the first one knows where the second is.
async fn transports(nodes: &Nodes) -> [Transport; 2] {
    let mut transports = Vec::new();
    for node in [0, 1] {
        let link = nodes.link(node).await;
        let Setup { seat, plane, keys, port, metrics, .. } = setup(node, HeartbeatMetrics::default());
        let codec = Codec::new(seat.id, plane, &keys, FORMATS);
        let mut transport = Transport::open(seat, codec, port, metrics, Duration::from_millis(100)).unwrap();
        transport.set_link(clock::now(), Some(link));
        transports.push(transport);
    }
    transports.try_into().unwrap()
}

/// So many messages, in order of the ways.
async fn received(transport: &mut Transport, number: usize) -> Vec<(Path, Message<Instant>)> {
    let mut received = Vec::new();
    let wait = async {
        while received.len() < number {
            transport.readable().await;
            transport.receive(clock::now(), |path, message| received.push((path, message)));
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
    received.sort_by_key(|(path, _)| *path);
    received
}

fn setup(node: usize, metrics: HeartbeatMetrics) -> Setup {
    let settings = Settings {
        timings: Timings::new(Duration::from_millis(100), 3).unwrap(),
        placement: Placement::Spread,
        quorum: None,
        nodes: BTreeMap::new(),
        rebalance: String::new(),
    };
    let plane = Plane::new("cluster", "public");
    Setup { seat: seat(node), settings, plane, keys: keys(&[1]), port: 7_946, metrics }
}

fn keys(ids: &[u8]) -> Keys {
    Keys::new(ids.iter().map(|id| (u32::from(*id), vec![*id; 32])).collect()).unwrap()
}

fn message(body: Body<Instant>) -> Message<Instant> {
    let (highest, epoch) = Default::default();
    Message { from: seat(0).id, at: Instant::from_boot(Duration::from_secs(7)), highest, epoch, body }
}

fn view() -> View {
    View { epoch: Epoch::default(), coordinator: seat(0).id, seats: vec![seat(0), seat(1)] }
}

fn seat(node: usize) -> Seat {
    Seat { id: MemberId([1, 2][node]), node: format!("node{node}"), address: Some(address(node)) }
}

const CLAIMS: [ClaimId; 4] = [ClaimId(1), ClaimId(2), ClaimId(3), ClaimId(4)];
