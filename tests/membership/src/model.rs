//! All of few faults: a world in coarse steps, for a model checker.
//!
//! Without faults a world in coarse steps goes only one way. What can vary is which fault begins at a step, as long as
//! there are faults left. So the checker tries every fault of the [`Menu`] at every step, then every other at every
//! step after it, and lets the rest of the time pass until all is in order again.

use std::time::Duration;

use foghorn_membership::{Bug, Settings, Timings};
use stateright::{Model, Property};

use crate::{Bounds, Breach, Clock, Fault, Moment, Plan, Surroundings, World, settings};

/// Milliseconds of a step.
pub const STEP: u64 = 50;

/// Which worlds are searched.
#[derive(Clone, Debug)]
pub struct Search {
    /// How many nodes there are.
    pub nodes: usize,
    /// What may go wrong.
    pub menu: Vec<Fault>,
    /// How many faults there may be in all.
    pub faults: usize,
    /// The first of them begins within so many steps…
    pub first: u64,
    /// … after so many in which the plane gets its members, and the claims are spread.
    pub from: u64,
    /// Each other one begins within so many steps after the one before…
    pub next: u64,
    /// … at every step of these, at every other, and so on.
    pub each: u64,
    /// How the members behave.
    pub settings: Settings,
    /// What is promised.
    pub bounds: Bounds,
    /// Rules that the members of these nodes do not keep.
    pub bugs: Vec<(usize, Bug)>,
}

/// A world, and which faults it had.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    world: World<Moment>,
    /// How many faults there still may be.
    left: usize,
    /// Until when the next of them has to begin.
    until: Moment,
}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.world.now().is_present();
        (&self.world, self.left, self.until).hash(state);
    }
}

impl State {
    /// The world.
    #[must_use]
    pub const fn world(&self) -> &World<Moment> {
        &self.world
    }
}

/// After so many steps in order nothing more can come: all that members wait for takes less, or needs somebody who is
/// silent or outside.
const IN_ORDER: u64 = 16;

/// What was sent for so many milliseconds can be sent again.
const RECORDED: u64 = 40 * STEP;

/// Claims have moved after so many steps.
const REBALANCED: u64 = 10;

/// A network that delivers within the step, and an API server that takes one.
struct Exact;

impl Surroundings for Exact {
    fn message(&mut self) -> [Option<u64>; 2] {
        [Some(0), None]
    }

    fn call(&mut self, slow: bool) -> (u64, u64) {
        if slow { (4 * STEP, 8 * STEP) } else { (STEP, 0) }
    }

    fn watch(&mut self) -> u64 {
        STEP
    }
}

/// The times of the model: those of a plane that notices lost members fast, in whole steps.
#[must_use]
pub fn coarse_settings() -> Settings {
    let steps = |steps: u32| Duration::from_millis(STEP) * steps;
    let timings = Timings {
        interval: steps(2),
        permit: steps(6),
        dead: steps(7),
        coordinator_permit: steps(7),
        coordinator_dead: steps(8),
        late: steps(3),
        patience: steps(6),
        api_failing: steps(8),
        join: steps(4),
        renewal: steps(10),
        abandoned: steps(40),
        grace: steps(20),
    };
    Settings { timings, ..settings() }
}

/// What is promised in the model. Of two that the API server answers, one may hand over to the other in the very moment
/// in which it ceases to hear that; it goes on until it takes the other for dead.
pub const COARSE_BOUNDS: Bounds =
    Bounds { connected: 3 * STEP, served: 8 * STEP, fence: 8 * STEP, settled: 100 * STEP };

impl Search {
    fn start(&self) -> World<Moment> {
        World::new(Plan {
            nodes: vec![(Clock::default(), 0); self.nodes],
            claims: 2,
            settings: self.settings.clone(),
            step: STEP,
            bounds: self.bounds,
            bugs: self.bugs.clone(),
            recorded: RECORDED,
        })
    }

    fn wait(world: &mut World<Moment>) {
        world.step(&mut Exact);
        world.look();
    }

    /// Lets time pass until a promise is broken, or all has been in order for so long that nothing more can come.
    fn wait_for_the_end(world: &mut World<Moment>) {
        let mut in_order = 0;
        let mut settled = 0;
        while world.breach().is_none() && in_order < IN_ORDER && settled < IN_ORDER {
            Self::wait(world);
            in_order = if world.is_in_order() { in_order + 1 } else { 0 };
            settled = if world.is_settled() { settled + 1 } else { 0 };
        }
    }
}

impl Model for Search {
    type State = State;
    type Action = Option<Fault>;

    fn init_states(&self) -> Vec<State> {
        let mut world = self.start();
        for _ in 0..self.from {
            Self::wait(&mut world);
        }
        // The first member has all claims until somebody asks for this.
        world.suffer(&Fault::Rebalance);
        for _ in 0..REBALANCED {
            Self::wait(&mut world);
        }
        let until = world.now().plus(self.first * STEP);
        vec![State { world, left: self.faults, until }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Self::Action>) {
        if state.world.breach().is_some() || state.left == 0 {
            return;
        }
        actions.push(None);
        if state.until.after(state.world.now()).is_multiple_of(self.each * STEP) {
            actions.extend(self.menu.iter().cloned().map(Some));
        }
    }

    fn next_state(&self, state: &State, action: Self::Action) -> Option<State> {
        let mut next = state.clone();
        if let Some(fault) = action {
            next.world.suffer(&fault);
            next.left -= 1;
            next.until = next.world.now().plus(self.next * STEP);
        }
        if next.left == 0 || next.world.now() >= next.until {
            (next.left, next.until) = (0, Moment(0));
        }
        if next.left == 0 {
            Self::wait_for_the_end(&mut next.world);
        } else {
            Self::wait(&mut next.world);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("members that hear each other do not announce the same", |_, state: &State| {
                !matches!(state.world.breach(), Some(Breach::Connected(..)))
            }),
            Property::always(
                "members that the API server answers do not announce the same",
                |_, state: &State| !matches!(state.world.breach(), Some(Breach::Served(..))),
            ),
            Property::always("whoever hears nobody is silent", |_, state: &State| {
                !matches!(state.world.breach(), Some(Breach::Fence(..) | Breach::Resumed(..)))
            }),
            Property::always("one vote in an epoch, and one view", |_, state: &State| {
                !matches!(state.world.breach(), Some(Breach::TwoViews(_) | Breach::TwoVotes(..)))
            }),
            Property::always("one write for each view", |_, state: &State| {
                !matches!(
                    state.world.breach(),
                    Some(Breach::Skipped(..) | Breach::Needless(_) | Breach::Hasty(_))
                )
            }),
            Property::always("in the end each claim is held by one that may", |_, state: &State| {
                !matches!(state.world.breach(), Some(Breach::Unsettled(..) | Breach::Restless))
            }),
        ]
    }
}
