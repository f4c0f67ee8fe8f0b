//! The state machine of one member.

use std::{collections::VecDeque, marker::PhantomData};

use crate::{ClaimId, Grant, Input, Output, Seat, Settings, Time, View};

/// One member's part in holding a plane's addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member<T: Time> {
    me: Seat,
    settings: Settings,
    outputs: VecDeque<Output<T>>,
    time: PhantomData<T>,
}

impl<T: Time> Member<T> {
    /// A member that takes no part yet: it has to be told that it is ready, and its health.
    #[must_use]
    pub fn new(now: T, me: Seat, settings: Settings) -> Self {
        let _ = now;
        Self { me, settings, outputs: VecDeque::new(), time: PhantomData }
    }

    /// Takes an input. The outputs are to be drained afterwards.
    pub fn handle_input(&mut self, now: T, input: Input<T>) {
        let _ = (now, input, &self.settings);
    }

    /// Does what is due at `now`. Whoever calls it has taken in all that has arrived before.
    pub fn handle_timeout(&mut self, now: T) {
        let _ = now;
    }

    /// When [`Member::handle_timeout`] is next to be called, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(T, &'static str)> {
        None
    }

    /// The next thing to do; to be called until there is none after each input and timeout.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// Until when this member may announce what it holds; past if it may not. To be compared with a fresh clock before
    /// each frame: no event has to arrive for it to pass.
    #[must_use]
    pub fn permit(&self) -> T {
        T::ZERO
    }

    /// By which right this member holds the claim, if it does.
    #[must_use]
    pub fn grant(&self, claim: ClaimId) -> Option<Grant> {
        let _ = claim;
        None
    }

    /// The newest view that this member knows; it need not be in it.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        None
    }

    /// Who this is.
    #[must_use]
    pub const fn seat(&self) -> &Seat {
        &self.me
    }
}
