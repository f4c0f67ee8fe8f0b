//! What heartbeats cost in planes of 10, 100 and 1,000 members.
#![cfg(test)]

use foghorn_clock::Instant;
use foghorn_membership_check::{Bounds, Climate, Clock, Figures, Plan, Weather, World, settings};

#[test]
fn in_a_small_plane_reports_go_to_all() {
    let plane = measure(10, 5000);
    assert!(plane.frames_of_a_member <= 12.0, "{plane:?}");
    assert!((80.0..120.0).contains(&plane.datagrams_of_a_member), "{plane:?}");
}

#[test]
fn in_a_large_plane_reports_go_to_the_coordinator_and_its_deputies() {
    for (members, settling) in [(100, 5000), (1000, 7000)] {
        let plane = measure(members, settling);
        assert!(plane.frames_of_a_member <= 36.0, "{plane:?}");
        assert!(plane.datagrams_of_a_member <= 36.0, "{plane:?}");
        assert!(plane.frames_of_the_coordinator <= 36.0, "{plane:?}");
    }
}

/// What a member does in a second.
#[derive(Debug)]
struct Plane {
    frames_of_a_member: f64,
    datagrams_of_a_member: f64,
    frames_of_the_coordinator: f64,
}

fn measure(members: usize, settling: u64) -> Plane {
    const SECONDS: u32 = 1;
    let mut weather = Weather::new(1, Climate { delay: 1, ..Climate::FAIR });
    // The first is there before the others are, and a hundred before all.
    let after = |node: u64| match node {
        0 => 0,
        1..100 => 2500,
        _ => 4000,
    };
    let start = |node: u64| (Clock::default(), after(node));
    let nodes = (0..).map(start).take(members).collect();
    let bounds = Bounds { connected: 200, served: 200, fence: 420, settled: settling + 60_000 };
    let mut world = World::<Instant>::new(Plan {
        nodes,
        claims: 4,
        settings: settings(),
        step: 1,
        bounds,
        bugs: Vec::new(),
        recorded: 0,
    });
    let mut pass = |milliseconds: u64| {
        weather.figures = Figures::default();
        world.pass(&mut weather, milliseconds);
        weather.figures.clone()
    };
    pass(settling);
    let figures = pass(u64::from(SECONDS) * 1000);
    let coordinator = world.coordinator().unwrap();
    let in_view = world.member(coordinator).unwrap().view().unwrap().seats.len();
    assert_eq!(in_view, members, "all are in");
    let of_a_member = |figures: &[f64]| {
        let others = figures.iter().enumerate().filter(|(node, _)| *node != coordinator);
        let all: f64 = others.map(|(_, figure)| figure / f64::from(SECONDS)).sum();
        all / f64::from(u32::try_from(members - 1).unwrap())
    };
    let float = |figures: &[u64]| -> Vec<f64> {
        figures.iter().map(|figure| f64::from(u32::try_from(*figure).unwrap())).collect()
    };
    let (frames, datagrams) = (float(&figures.frames), float(&figures.datagrams));
    println!(
        "{members} members, in a second: a member sends {:.1} frames and {:.1} datagrams, and its machine takes {:.2} ms; \
         the coordinator {:.1}, {:.1} and {:.2} ms",
        of_a_member(&frames),
        of_a_member(&datagrams),
        of_a_member(&figures.busy) * 1e3,
        frames[coordinator] / f64::from(SECONDS),
        datagrams[coordinator] / f64::from(SECONDS),
        figures.busy[coordinator] / f64::from(SECONDS) * 1e3,
    );
    Plane {
        frames_of_a_member: of_a_member(&frames),
        datagrams_of_a_member: of_a_member(&datagrams),
        frames_of_the_coordinator: frames[coordinator] / f64::from(SECONDS),
    }
}
