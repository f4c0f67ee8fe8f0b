//! Somebody without the key, who keeps what is sent and sends it again.

use std::{
    collections::VecDeque,
    hash::{Hash, Hasher},
    sync::Arc,
};

use foghorn_membership::{Message, Path};

use super::World;
use crate::moment::{Moment, Reading};

/// What was sent lately, by which node and when.
///
/// Two worlds that differ in nothing else are the same to the model checker: of those it goes on with one.
#[derive(Clone, Debug)]
pub(super) struct Recorder<T> {
    keeps: u64,
    sent: VecDeque<(Moment, usize, Arc<Message<T>>)>,
}

impl<T> PartialEq for Recorder<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Recorder<T> {}

impl<T> Hash for Recorder<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl<T: Clone> Recorder<T> {
    /// Keeps what was sent within the last `keeps` milliseconds.
    pub(super) const fn new(keeps: u64) -> Self {
        Self { keeps, sent: VecDeque::new() }
    }

    pub(super) fn record(&mut self, now: Moment, node: usize, message: &Message<T>) {
        let keeps = self.keeps;
        while self.sent.pop_front_if(|(at, ..)| now.after(*at) >= keeps).is_some() {}
        if keeps > 0 {
            self.sent.push_back((now, node, Arc::new(message.clone())));
        }
    }
}

impl<T: Reading> World<T> {
    /// Sends again what a node sent from so long `ago` on, for `lasts` milliseconds, at the same pace.
    pub(super) fn replay(&mut self, node: usize, ago: u64, lasts: u64) {
        let from = Moment(self.now.0.saturating_sub(ago));
        let chosen = |(at, by, _): &&(Moment, usize, _)| *by == node && *at >= from && at.after(from) < lasts;
        for (at, _, message) in self.recorder.sent.iter().filter(chosen) {
            let arrivals = self.on_the_way.entry(self.now.plus(at.after(from) + 1)).or_default();
            for receiver in 0..self.nodes.len() {
                arrivals
                    .extend([Path::Wire, Path::Udp].map(|path| (receiver, path, Message::clone(message))));
            }
        }
    }
}
