//! One fault in a plane of three: for how long nobody answers, and how often the Lease is written.
#![cfg(test)]

use foghorn_clock::Instant;
use foghorn_membership::ClaimId;
use foghorn_membership_check::{Away, Bounds, Climate, Clock, Fault, Plan, Weather, World, settings};
use rand::Rng as _;

const RUNS: u64 = 100;

#[test]
fn a_lost_owner_is_followed_by_one_write() {
    let lost = [
        ("power", Fault::Crash as fn(usize, Option<u64>) -> Fault, None),
        ("kill, again at once", Fault::Crash, Some(10)),
        ("kill, again after a second", Fault::Crash, Some(1000)),
    ];
    for (name, fault, again) in lost {
        for whom in [Whom::Member, Whom::Coordinator] {
            let gaps = gaps(whom, |node| vec![fault(node, again)]);
            let writes = if again.is_some() { 1..=2 } else { 1..=1 };
            gaps.report(name, whom);
            assert!(gaps.worst() < 700 && writes.contains(&gaps.most_writes));
        }
    }
}

#[test]
fn a_stopped_owner_is_followed_by_one_write() {
    for whom in [Whom::Member, Whom::Coordinator] {
        let gaps = gaps(whom, |node| vec![Fault::Stop(node, 9000)]);
        gaps.report("SIGSTOP", whom);
        assert!(gaps.worst() < 700 && gaps.most_writes == 1);
    }
}

#[test]
fn a_pulled_cable_costs_no_write() {
    for whom in [Whom::Member, Whom::Coordinator] {
        let gaps = gaps(whom, |node| vec![Fault::Cable(node, 9000)]);
        gaps.report("cable", whom);
        assert!(gaps.worst() < 200);
        assert_eq!(gaps.most_writes, if whom == Whom::Member { 0 } else { gaps.most_writes.min(1) });
    }
}

#[test]
fn who_leaves_is_never_missed() {
    for whom in [Whom::Member, Whom::Coordinator] {
        let gaps = gaps(whom, |node| vec![Fault::Leave(node, None)]);
        gaps.report("leave", whom);
        assert!(gaps.worst() < 50 && gaps.most_writes == 1);
    }
}

#[test]
fn without_the_api_server_a_lost_owner_is_followed_by_a_majority() {
    for whom in [Whom::Member, Whom::Coordinator] {
        let down = || Fault::ApiDown(Away::Refuses, 9000);
        let gaps = gaps(whom, |node| vec![down(), Fault::Crash(node, None)]);
        gaps.report("API server and owner", whom);
        assert!(gaps.worst() < 2000 && gaps.most_writes == 0);
    }
}

#[test]
fn an_api_server_that_is_away_changes_nothing() {
    let gaps = gaps(Whom::Member, |_| vec![Fault::ApiDown(Away::Silent, 9000)]);
    gaps.report("API server", Whom::Member);
    assert!(gaps.worst() == 0 && gaps.most_writes == 0);
}

#[test]
fn whoever_is_started_again_while_the_api_server_is_away_goes_on() {
    for (nodes, node) in [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
        let mut weather = Weather::new(0, Climate { delay: 1, ..Climate::FAIR });
        let mut world = World::<Instant>::new(plan(&mut weather, nodes));
        pass(&mut world, &mut weather, 6000);
        world.suffer(&Fault::ApiDown(Away::Refuses, 20_000));
        // Three are no majority of themselves after a second restart; one or two still are.
        for _ in 0..if nodes < 3 { 2 } else { 1 } {
            pass(&mut world, &mut weather, 1000);
            world.suffer(&Fault::Crash(node, Some(1000)));
            pass(&mut world, &mut weather, 6000);
        }
        let member = world.member(node).unwrap();
        assert!(member.view().unwrap().has(member.seat().id), "node {node} of {nodes}");
        for claim in world.claims() {
            assert_eq!(world.announcers(*claim).len(), 1, "{claim:?}, node {node} of {nodes} is back");
        }
        pass(&mut world, &mut weather, 20_000);
        assert!(world.is_in_order(), "node {node} of {nodes}, the API server is back");
        assert_eq!(world.breach(), None);
    }
}

#[test]
fn late_copies_of_the_rounds_of_a_lost_coordinator_delay_nothing() {
    let mut weather = Weather::new(0, Climate { delay: 1, ..Climate::FAIR });
    let mut world = World::<Instant>::new(plan(&mut weather, 3));
    pass(&mut world, &mut weather, 5000);
    let lost = world.coordinator().unwrap();
    world.suffer(&Fault::Twice(lost, 380, 150));
    pass(&mut world, &mut weather, 150);
    world.suffer(&Fault::Crash(lost, None));
    pass(&mut world, &mut weather, 600);
    assert_ne!(world.coordinator(), Some(lost));
}

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Member,
    Coordinator,
}

struct Gaps {
    /// Milliseconds without an answer, of all runs, the longest last.
    sorted: Vec<u64>,
    most_writes: u64,
}

impl Gaps {
    fn worst(&self) -> u64 {
        *self.sorted.last().unwrap()
    }

    fn report(&self, name: &str, whom: Whom) {
        let median = self.sorted[self.sorted.len() / 2];
        println!("{name}, {whom:?}: {median} ms / {} ms, {} writes", self.worst(), self.most_writes);
    }
}

/// The longest time in which nobody answers for a claim of the node that is struck, and the views that are written
/// until it comes back.
fn gaps(whom: Whom, faults: impl Fn(usize) -> Vec<Fault>) -> Gaps {
    let mut gaps = Gaps { sorted: Vec::new(), most_writes: 0 };
    for seed in 0..RUNS {
        let mut weather = Weather::new(seed, Climate { delay: 1, ..Climate::FAIR });
        let mut world = World::<Instant>::new(plan(&mut weather, 3));
        let apart = weather.rng().random_range(0..2000);
        pass(&mut world, &mut weather, 4000);
        world.suffer(&Fault::Rebalance);
        pass(&mut world, &mut weather, 1000 + apart);
        let coordinator = world.coordinator().unwrap();
        let owner = |world: &World<Instant>, claim: ClaimId| match world.announcers(claim).as_slice() {
            [one] => *one,
            other => panic!("{claim:?} is announced by {other:?}"),
        };
        let is_meant = |node: usize| (node == coordinator) == (whom == Whom::Coordinator);
        let node =
            world.claims().iter().map(|claim| owner(&world, *claim)).find(|node| is_meant(*node)).unwrap();
        let of_node = |claim: &ClaimId| owner(&world, *claim) == node;
        let claims: Vec<ClaimId> = world.claims().iter().copied().filter(of_node).collect();
        let writes = weather.figures.view_writes;
        faults(node).iter().for_each(|fault| world.suffer(fault));
        let mut longest = 0;
        let mut missing = 0;
        for _ in 0..4000 {
            world.step(&mut weather);
            world.look();
            assert_eq!(world.breach(), None, "seed {seed}, {whom:?}");
            let served = claims.iter().all(|claim| !world.announcers(*claim).is_empty());
            missing = if served { 0 } else { missing + 1 };
            longest = longest.max(missing);
        }
        gaps.sorted.push(longest);
        gaps.most_writes = gaps.most_writes.max(weather.figures.view_writes - writes);
    }
    gaps.sorted.sort_unstable();
    gaps
}

fn pass(world: &mut World<Instant>, weather: &mut Weather, milliseconds: u64) {
    for _ in 0..milliseconds {
        world.step(weather);
        world.look();
    }
}

fn plan(weather: &mut Weather, nodes: u64) -> Plan {
    let mut clock = || Clock {
        offset: weather.rng().random_range(1_000..1_000_000),
        fast: weather.rng().random_range(-10_000..=10_000),
    };
    Plan {
        nodes: (0..nodes).map(|node| (clock(), node * 50)).collect(),
        claims: 6,
        settings: settings(),
        step: 1,
        bounds: Bounds { connected: 130, served: 100, fence: 420, settled: 100_000 },
        bugs: Vec::new(),
        recorded: 0,
    }
}
