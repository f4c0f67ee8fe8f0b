//! A clock, and what happens later.

use std::{collections::VecDeque, fmt::Debug, ops::Add};

/// A clock that only moves forward, with events in the order of their times. Events of the same time keep the order in
/// which they were added.
#[derive(Debug)]
pub struct Timeline<T, E> {
    now: T,
    /// In order. Most are added near the end, where that is cheap.
    events: VecDeque<(T, E)>,
}

impl<T, E> Timeline<T, E>
where
    T: Copy + Debug + Ord,
{
    /// A timeline without events.
    #[must_use]
    pub const fn new(now: T) -> Self {
        Self { now, events: VecDeque::new() }
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> T {
        self.now
    }

    /// Adds an event.
    ///
    /// # Panics
    /// If its time has passed.
    pub fn at(&mut self, at: T, event: E) {
        assert!(self.now <= at, "an event at {at:?} is added at {:?}", self.now);
        let index = self.events.partition_point(|(earlier, _)| *earlier <= at);
        self.events.insert(index, (at, event));
    }

    /// Adds an event that happens after that time.
    pub fn after<D>(&mut self, wait: D, event: E)
    where
        T: Add<D, Output = T>,
    {
        self.at(self.now + wait, event);
    }

    /// The time of the next event.
    #[must_use]
    pub fn next(&self) -> Option<T> {
        self.events.front().map(|(at, _)| *at)
    }

    /// Moves the clock.
    ///
    /// # Panics
    /// If that would move it back.
    pub fn pass(&mut self, to: T) {
        assert!(self.now <= to, "the clock is moved back from {:?} to {to:?}", self.now);
        self.now = to;
    }

    /// Takes the next event that is due by now.
    pub fn due(&mut self) -> Option<E> {
        self.next().filter(|at| *at <= self.now)?;
        self.events.pop_front().map(|(_, event)| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_ordered_by_time_and_then_by_insertion() {
        let mut timeline = Timeline::new(10);
        timeline.at(30, 'c');
        timeline.after(10, 'a');
        timeline.at(20, 'b');
        assert_eq!((timeline.next(), timeline.due()), (Some(20), None));
        timeline.pass(25);
        assert_eq!(timeline.due(), Some('a'));
        // An event of the present comes after those that are due earlier.
        timeline.at(25, 'x');
        assert_eq!([timeline.due(), timeline.due(), timeline.due()], [Some('b'), Some('x'), None]);
        assert_eq!((timeline.next(), timeline.now()), (Some(30), 25));
    }

    #[test]
    #[should_panic(expected = "moved back")]
    fn the_clock_does_not_move_back() {
        Timeline::<_, ()>::new(2).pass(1);
    }

    #[test]
    #[should_panic(expected = "an event at 1 is added at 2")]
    fn no_event_is_added_in_the_past() {
        Timeline::new(2).at(1, ());
    }
}
