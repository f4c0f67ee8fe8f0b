//! Random faults, and the world that suffers them.

use std::fmt;

use foghorn_clock::Instant;
use foghorn_membership::{Bug, ClaimId, Path, Placement, Settings, Timings};
use foghorn_simkit::Journal;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    Away, Bounds, Breach, Climate, Clock, Fault, Figures, Hand, Moment, Overlaps, Plan, Weather, World,
};

/// Faults begin after so many milliseconds; then all members are in.
const CALM: u64 = 4000;
/// The nodes of a large plane have all become members after so many.
const GATHERING: u64 = 6000;
/// Faults begin within so many.
const UNREST: u64 = 14_000;
/// After the last fault has ended so long a quiet is played.
const QUIET: u64 = 14_000;
/// At the end of the quiet, so long all has to be in order.
const IN_ORDER: u64 = 1500;

/// The claims of a plane.
const CLAIMS: u64 = 4;

/// Nothing that is recorded is forgotten.
const ALL: u64 = u64::MAX;

/// What makes a schedule hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is lost and nobody is late: only faults.
    Exact,
    /// Messages are lost.
    Lossy,
    /// Messages are lost, and turns are late.
    Late,
    /// Besides, somebody who is no member changes the Lease.
    Meddled,
    /// Processes end and start, and somebody sends again what was sent before.
    Replayed,
}

/// Faults, and when they happen.
#[derive(Clone, Debug)]
pub struct Schedule {
    seed: u64,
    kind: Kind,
    climate: Climate,
    plan: Plan,
    /// In the order of their times, in milliseconds from the start.
    pub faults: Vec<(u64, Fault)>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, quorum, loss) = (self.plan.nodes.len(), self.plan.settings.quorum, self.climate.loss);
        write!(f, "{:?} {}: {nodes} nodes, quorum {quorum:?}, loss {loss:.3}", self.kind, self.seed)?;
        self.faults.iter().try_for_each(|(at, fault)| write!(f, "\n{at:6} {fault:?}"))
    }
}

/// What became of a schedule.
#[derive(Clone, Debug)]
pub struct Played {
    /// The promise that was broken.
    pub breach: Option<Breach>,
    /// The longest of each.
    pub worst: Overlaps,
    /// What else was measured.
    pub figures: Figures,
}

impl Schedule {
    /// The random one of that number.
    #[must_use]
    pub fn random(seed: u64, kind: Kind) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(2..=6);
        let mut nodes: Vec<(Clock, u64)> = Vec::new();
        for _ in 0..count {
            let clock = Clock {
                offset: rng.random_range(1_000..1_000_000_000),
                fast: rng.random_range(-10_000..=10_000),
            };
            nodes.push((clock, rng.random_range(0..1000)));
        }
        let climate = match kind {
            Kind::Exact | Kind::Replayed => Climate { delay: 30, ..Climate::FAIR },
            Kind::Lossy | Kind::Late | Kind::Meddled => {
                Climate { loss: rng.random_range(0.0..0.1), delay: 30, twice: 0.02, call: 12 }
            }
        };
        let mut faults: Vec<(u64, Fault)> = Vec::new();
        for _ in 0..rng.random_range(8..=16) {
            faults.push((rng.random_range(CALM..CALM + UNREST), fault(&mut rng, count, kind)));
        }
        if kind == Kind::Replayed {
            // Long after all others: there is nothing then that what comes could be the fault of.
            for _ in 0..3 {
                let at = rng.random_range(CALM + UNREST + 2 * QUIET..CALM + UNREST + 2 * QUIET + 2000);
                faults.push((at, replay(&mut rng, count, at)));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        let mut settings = settings();
        settings.quorum = [None, Some(true), Some(false)].choose(&mut rng).copied().unwrap_or_default();
        let recorded = if kind == Kind::Replayed { ALL } else { 0 };
        let bounds = bounds(kind);
        let plan = Plan { nodes, claims: CLAIMS, settings, step: 1, bounds, bugs: Vec::new(), recorded };
        Self { seed, kind, climate, plan, faults }
    }

    /// These faults, and nothing else that is wrong.
    #[must_use]
    pub fn of(nodes: usize, faults: Vec<(u64, Fault)>) -> Self {
        Self { seed: 0, kind: Kind::Exact, climate: Climate::FAIR, plan: Self::plane(nodes), faults }
    }

    /// A plane of so many nodes, with nothing wrong.
    #[must_use]
    pub fn plane(nodes: usize) -> Plan {
        let node = |node: u64| (Clock { offset: 1000 * node, fast: 0 }, 10 * node);
        Plan {
            nodes: (0..).map(node).take(nodes).collect(),
            claims: CLAIMS,
            settings: settings(),
            step: 1,
            bounds: bounds(Kind::Exact),
            bugs: Vec::new(),
            recorded: ALL,
        }
    }

    /// The same with members, by their nodes, that do not keep these rules.
    #[must_use]
    pub fn with(mut self, bugs: &[(usize, Bug)]) -> Self {
        self.plan.bugs = bugs.to_vec();
        self
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.plan.nodes.len()
    }

    /// Plays it.
    #[must_use]
    pub fn play(&self, journal: &Journal) -> Played {
        let mut weather = Weather::new(!self.seed, self.climate);
        weather.journal = journal.clone();
        let mut world = World::<Instant>::new(self.plan.clone());
        let mut faults = self.faults.iter().peekable();
        let mut worst = Overlaps::default();
        let ends = self.faults.iter().map(|(at, fault)| at + fault.goes_on()).max().unwrap_or_default();
        let ends = Moment::START.plus(ends);
        let over = |world: &World<Instant>| world.quiet() > QUIET + IN_ORDER && world.now() > ends;
        while !(faults.peek().is_none() && over(&world)) && world.breach().is_none() {
            while let Some((_, fault)) = faults.next_if(|(at, _)| Moment::START.plus(*at) <= world.now()) {
                weather.tell(world.now(), format_args!("{fault:?}"));
                world.suffer(fault);
            }
            if faults.peek().is_none() && world.quiet() > 0 {
                weather.climate = Climate::FAIR;
            }
            world.step(&mut weather);
            let overlaps = world.look();
            worst.connected = worst.connected.max(overlaps.connected);
            worst.served = worst.served.max(overlaps.served);
        }
        weather.tell(world.now(), format_args!("the end; broken: {:?}; {:?}", world.breach(), self.kind));
        Played { breach: world.breach().cloned(), worst, figures: weather.figures }
    }

    /// The fewest of its faults that break a promise, if it breaks one.
    #[must_use]
    pub fn minimised(mut self) -> Self {
        let mut index = 0;
        while index < self.faults.len() {
            let mut fewer = self.clone();
            fewer.faults.remove(index);
            if fewer.play(&Journal::default()).breach.is_some() {
                self = fewer;
            } else {
                index += 1;
            }
        }
        self
    }
}

/// The settings of a plane of which nothing special is wanted.
#[must_use]
pub fn settings() -> Settings {
    // The default of a plane.
    let timings = Timings::new(std::time::Duration::from_millis(100), 3);
    #[expect(clippy::expect_used, reason = "the figures are in their range")]
    Settings {
        timings: timings.expect("100 ms and 3 are allowed"),
        placement: Placement::Spread,
        quorum: None,
        nodes: std::collections::BTreeMap::new(),
        rebalance: String::new(),
    }
}

fn bounds(kind: Kind) -> Bounds {
    let connected = match kind {
        Kind::Exact | Kind::Replayed => 170,
        Kind::Lossy | Kind::Late | Kind::Meddled => 400,
    };
    // A successor that was heard until just now is given a claim before whoever had it hears that it has it; if it is
    // heard no longer, that lasts until it is dead.
    Bounds { connected, served: 380, fence: 420, settled: QUIET }
}

/// Of something that was sent before that time.
fn replay(rng: &mut StdRng, nodes: usize, at: u64) -> Fault {
    Fault::Replay(rng.random_range(0..nodes), rng.random_range(0..at), rng.random_range(1..6000))
}

fn fault(rng: &mut StdRng, nodes: usize, kind: Kind) -> Fault {
    let node = rng.random_range(0..nodes);
    if kind == Kind::Replayed {
        match rng.random_range(0..10) {
            0..=2 => return Fault::Crash(node, Some(rng.random_range(1..1500))),
            3..=6 => return replay(rng, nodes, CALM + UNREST),
            _ => {}
        }
    }
    let other = (node + rng.random_range(1..nodes)) % nodes;
    let short = rng.random_range(100..1500);
    let long = rng.random_range(200..6000);
    let away = if rng.random() { Away::Refuses } else { Away::Silent };
    let again = rng.random_bool(0.9).then_some(short);
    let path = [None, Some(Path::Wire), Some(Path::Udp)].choose(rng).copied().unwrap_or_default();
    let kinds = match kind {
        Kind::Exact | Kind::Replayed => 18,
        Kind::Lossy => 20,
        Kind::Late => 22,
        Kind::Meddled => 26,
    };
    match rng.random_range(0..kinds) {
        0 => Fault::Crash(node, again),
        1 => Fault::Crash(node, Some(rng.random_range(1..50))),
        2 => Fault::Leave(node, again),
        3 => Fault::Stop(node, rng.random_range(100..9000)),
        4..=6 => Fault::Cut(node, other, path, long),
        7 => Fault::Isolate(node, rng.random(), long),
        8 => Fault::Cable(node, long),
        9 => Fault::Gateway(node, long),
        10 => Fault::NoApi(node, away, long),
        11 => Fault::ApiDown(away, long),
        12 => Fault::ApiSlow(long),
        13 => Fault::LostAnswer(node),
        14 => {
            if rng.random() {
                Fault::WatchGoesBack(node)
            } else {
                Fault::WatchLags(node, long)
            }
        }
        15 => Fault::Cordon(node, long),
        16 => Fault::Rebalance,
        17 => Fault::Endpoint(ClaimId(rng.random_range(1..=CLAIMS)), rng.random_bool(0.7).then_some(node)),
        18 => Fault::Mute(node, rng.random_range(1..300)),
        19 => Fault::Twice(node, rng.random_range(1..3000), short),
        20 => Fault::Stop(node, rng.random_range(20..320)),
        21 => Fault::Delay(node, rng.random_range(30..300), short),
        22 => Fault::Lease(Hand::Deletes),
        23 => Fault::Lease(Hand::Scribbles),
        24 => Fault::Lease(Hand::Restores),
        _ => Fault::Lease(Hand::PutsBack),
    }
}

/// A plane of so many nodes, all of which have had the time to become members, in fair surroundings.
#[must_use]
pub fn gathered(nodes: usize) -> (World<Instant>, Weather) {
    let mut world = World::new(Schedule::plane(nodes));
    let mut weather = Weather::new(0, Climate { delay: 1, ..Climate::FAIR });
    world.pass(&mut weather, GATHERING);
    (world, weather)
}
