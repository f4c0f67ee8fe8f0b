//! A world at random, and what is measured in it.

use std::{fmt::Debug, time::Instant};

use foghorn_simkit::Journal;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{Moment, Surroundings};

/// How a network and an API server behave while nothing is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Climate {
    /// The part of the messages that is lost.
    pub loss: f64,
    /// No message takes longer than so many milliseconds.
    pub delay: u64,
    /// The part of the messages that arrives twice.
    pub twice: f64,
    /// No API call takes longer than so many milliseconds.
    pub call: u64,
}

impl Climate {
    /// A network that loses nothing, and an API server that answers at once.
    pub const FAIR: Self = Self { loss: 0.0, delay: 2, twice: 0.0, call: 12 };
}

/// Random surroundings.
#[derive(Debug)]
pub struct Weather {
    rng: StdRng,
    /// How they behave now.
    pub climate: Climate,
    /// What was measured.
    pub figures: Figures,
    /// Records what the members tell.
    pub journal: Journal,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Views written to the Lease.
    pub view_writes: u64,
    /// Entries of each message with a table, by the nodes that sent them.
    pub tables: Vec<Vec<usize>>,
    /// Frames on the plane's network, by the nodes that sent them.
    pub frames: Vec<u64>,
    /// Datagrams between node addresses, by the nodes that sent them.
    pub datagrams: Vec<u64>,
    /// Seconds of a processor that the machines took, by nodes.
    pub busy: Vec<f64>,
    /// Seconds of the longest turn of a machine, by nodes.
    pub longest_turns: Vec<f64>,
}

impl Weather {
    /// Surroundings whose every whim follows from the seed.
    #[must_use]
    pub fn new(seed: u64, climate: Climate) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, climate, figures: Figures::default(), journal: Journal::default() }
    }

    /// The source of what is random.
    pub const fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}

impl Surroundings for Weather {
    fn message(&mut self) -> [Option<u64>; 2] {
        let Climate { loss, delay, twice, .. } = self.climate;
        let mut once = |part: f64| self.rng.random_bool(part).then(|| self.rng.random_range(1..=delay));
        [once(1.0 - loss), once(twice)]
    }

    fn call(&mut self, slow: bool) -> (u64, u64) {
        let most = if slow { 2000 } else { self.climate.call };
        let least = most / 6;
        let takes = self.rng.random_range(least..=most);
        let lands = self.rng.random_range(1..=takes);
        (lands, takes - lands)
    }

    fn watch(&mut self) -> u64 {
        self.rng.random_range(1..=100)
    }

    fn turn(&mut self, node: usize, machine: impl FnOnce()) {
        let begin = Instant::now();
        machine();
        let seconds = begin.elapsed().as_secs_f64();
        *of(&mut self.figures.busy, node) += seconds;
        let longest = of(&mut self.figures.longest_turns, node);
        *longest = longest.max(seconds);
    }

    fn sent(&mut self, node: usize, frames: usize, datagrams: usize) {
        *of(&mut self.figures.frames, node) += u64::try_from(frames).unwrap_or_default();
        *of(&mut self.figures.datagrams, node) += u64::try_from(datagrams).unwrap_or_default();
    }

    fn table_sent(&mut self, node: usize, entries: usize) {
        of(&mut self.figures.tables, node).push(entries);
    }

    fn view_written(&mut self) {
        self.figures.view_writes += 1;
    }

    fn told(&mut self, node: usize, now: Moment, what: &dyn Debug) {
        self.tell(now, format_args!("node {node}: {what:?}"));
    }
}

impl Weather {
    /// Records what happens at that moment.
    pub fn tell(&self, now: Moment, what: std::fmt::Arguments<'_>) {
        self.journal.tell(now.after(Moment::START), what);
    }
}

fn of<N: Clone + Default>(figures: &mut Vec<N>, node: usize) -> &mut N {
    if figures.len() <= node {
        figures.resize(node + 1, N::default());
    }
    // The line above made sure of it.
    #[expect(clippy::indexing_slicing, reason = "the vector was made long enough")]
    &mut figures[node]
}
