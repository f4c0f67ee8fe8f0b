//! All of few faults, in coarse steps.
#![cfg(test)]

use std::time::Instant;

use foghorn_membership::{Bug, ClaimId};
use foghorn_membership_check::{Away, COARSE_BOUNDS, Fault, Hand, STEP, Search, coarse_settings};
use stateright::{Checker as _, Model as _};

#[test]
fn two_members_keep_their_promises_whatever_two_faults_they_have() {
    check(Search { faults: 2, ..search(2) });
}

#[test]
fn three_members_keep_their_promises_whatever_two_faults_they_have() {
    check(Search { faults: 2, each: 2, ..search(3) });
}

#[test]
fn a_member_without_a_fence_is_found() {
    let bugs = [0, 1, 2].map(|node| (node, Bug::NoFence)).to_vec();
    let checker = Search { bugs, ..search(3) }.checker().spawn_dfs().join();
    assert!(checker.discovery("whoever hears nobody is silent").is_some());
}

fn check(search: Search) {
    let (nodes, kinds, faults) = (search.nodes, search.menu.len(), search.faults);
    let begin = Instant::now();
    let checker = search.checker().spawn_dfs().join();
    println!(
        "{nodes} members, {faults} of {kinds} faults: {} states, {} of them different, at most {} steps, in {:.0} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begin.elapsed().as_secs_f64()
    );
    for (property, path) in checker.discoveries() {
        let last = path.last_state().world().clone();
        let actions = path.into_actions();
        let faults: Vec<_> =
            (0..).zip(&actions).filter_map(|(step, fault)| Some((step, fault.as_ref()?))).collect();
        println!("not so: {property}: {:?} after {} steps, with {faults:?}", last.breach(), actions.len());
    }
    assert!(checker.discoveries().is_empty());
}

fn search(nodes: usize) -> Search {
    Search {
        nodes,
        menu: menu(nodes),
        faults: 1,
        from: 40,
        first: 2,
        next: 30,
        each: 1,
        settings: coarse_settings(),
        bounds: COARSE_BOUNDS,
        bugs: Vec::new(),
    }
}

/// Every fault that two or three nodes can have, of each length that makes a difference: shorter than what is noticed,
/// as long as it takes to notice, and longer than a change of the view.
fn menu(nodes: usize) -> Vec<Fault> {
    let lengths = [2, 8, 24].map(|steps| steps * STEP);
    let mut menu = Vec::new();
    for node in 0..nodes {
        menu.extend([None, Some(STEP), Some(20 * STEP)].map(|again| Fault::Crash(node, again)));
        menu.extend([
            Fault::Leave(node, Some(20 * STEP)),
            Fault::Mute(node, STEP),
            Fault::Delay(node, 3 * STEP, 6 * STEP),
            Fault::Twice(node, 10 * STEP, 2 * STEP),
            Fault::LostAnswer(node),
            Fault::WatchGoesBack(node),
            Fault::Cable(node, 12 * STEP),
            Fault::NoApi(node, Away::Refuses, 24 * STEP),
            Fault::NoApi(node, Away::Silent, 24 * STEP),
            Fault::Replay(node, 24 * STEP, 24 * STEP),
            Fault::Endpoint(ClaimId(1), Some(node)),
        ]);
        for length in lengths {
            menu.extend([
                Fault::Stop(node, length),
                Fault::Isolate(node, false, length),
                Fault::Isolate(node, true, length),
            ]);
        }
        for other in (0..nodes).filter(|other| *other != node) {
            menu.push(Fault::Cut(node, other, None, 12 * STEP));
        }
    }
    menu.extend([
        Fault::ApiDown(Away::Refuses, 24 * STEP),
        Fault::ApiSlow(12 * STEP),
        Fault::Endpoint(ClaimId(1), None),
        Fault::Lease(Hand::Deletes),
        Fault::Lease(Hand::PutsBack),
    ]);
    menu
}
