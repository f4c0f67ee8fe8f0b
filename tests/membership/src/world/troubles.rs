//! How faults come about.

use foghorn_membership::{ClaimId, Input, Path};

use super::World;
use crate::{
    fault::{Away, Fault, Hand},
    moment::{Moment, Reading},
    node::Node,
};

/// Calls that were slow are over so many milliseconds after the last was made.
const SLOW_CALLS_END: u64 = 5000;

impl<T: Reading> World<T> {
    /// Lets something go wrong from now on.
    pub fn suffer(&mut self, fault: &Fault) {
        let now = self.now;
        let until = now.plus(fault.lasts());
        // Of a replay nothing may come: whoever sends it disturbs no quiet.
        if !matches!(fault, Fault::Replay(..)) {
            self.quiet_from = self.quiet_from.max(until);
        }
        match fault {
            Fault::Crash(node, again) => self.on(*node, |node| {
                node.process = None;
                node.stopped = now;
                node.starts = again.map(|after| now.plus(after));
            }),
            Fault::Leave(node, again) => self.on(*node, |node| {
                let Some(process) = node.process.as_mut().filter(|process| process.leaving.is_none()) else {
                    return;
                };
                process.leaving = Some(*again);
                process.inbox.push_back(Input::Leave);
            }),
            Fault::Stop(node, _) => self.on(*node, |node| node.stopped = node.stopped.max(until)),
            Fault::Cut(from, to, Some(path), _) => self.cut(*from, *to, *path, until),
            Fault::Cut(from, to, None, _) => {
                self.cut(*from, *to, Path::Wire, until);
                self.cut(*from, *to, Path::Udp, until);
            }
            Fault::Isolate(node, api, _) => {
                for other in (0..self.nodes.len()).filter(|other| other != node) {
                    for path in [Path::Wire, Path::Udp] {
                        self.cut(*node, other, path, until);
                        self.cut(other, *node, path, until);
                    }
                }
                self.on(*node, |node| {
                    node.no_gateway = node.no_gateway.max(until);
                    if *api {
                        lose_api(node, Away::Silent, until);
                    }
                });
            }
            Fault::Cable(node, _) => self.on(*node, |node| node.no_carrier = node.no_carrier.max(until)),
            Fault::Gateway(node, _) => self.on(*node, |node| node.no_gateway = node.no_gateway.max(until)),
            Fault::NoApi(node, away, _) => self.on(*node, |node| lose_api(node, *away, until)),
            Fault::ApiDown(away, _) => self.on_all(|node| lose_api(node, *away, until)),
            Fault::ApiSlow(_) => {
                self.slow = self.slow.max(until);
                let over = until.plus(SLOW_CALLS_END);
                self.on_all(|node| node.served_since = node.served_since.max(over));
            }
            Fault::LostAnswer(node) => self.on(*node, |node| node.lost_answers += 1),
            Fault::WatchLags(node, _) => self.on(*node, |node| node.watch_lags = node.watch_lags.max(until)),
            Fault::WatchGoesBack(node) => {
                let outdated = self.api.outdated();
                self.on(*node, |node| {
                    if let (Some(record), Some(process)) = (outdated, &mut node.process) {
                        process.inbox.push_back(Input::Observed(record));
                    }
                });
            }
            Fault::Mute(node, _) => self.on(*node, |node| node.mute = node.mute.max(until)),
            Fault::Delay(node, by, lasts) => self.on(*node, |node| {
                node.delayed = (*by, now.plus(*lasts));
                // Who hands over hears that the successor has spoken so much later.
                node.served_since = node.served_since.max(until);
            }),
            Fault::Twice(node, by, lasts) => self.on(*node, |node| node.twice = (*by, now.plus(*lasts))),
            Fault::Cordon(node, _) => self.on(*node, |node| node.cordoned = node.cordoned.max(until)),
            Fault::Replay(node, ago, lasts) => self.replay(*node, *ago, *lasts),
            Fault::Rebalance => self.settings.rebalance.push('+'),
            Fault::Endpoint(claim, node) => {
                self.served.insert(*claim, *node);
                self.changes += 1;
            }
            Fault::Delete(claim) => {
                self.claims.remove(claim);
                self.changes += 1;
            }
            Fault::Claims(count) => {
                let last = self.claims.last().map_or(0, |claim| claim.0);
                self.claims.extend((last + 1..=last + count).map(ClaimId));
                self.changes += 1;
            }
            Fault::Lease(hand) => {
                self.lease_is_members = false;
                match hand {
                    Hand::Deletes => self.api.delete(now),
                    Hand::Scribbles => self.api.scribble(now),
                    Hand::Restores => self.api.restore(now),
                    Hand::PutsBack => self.api.put_back(now),
                }
            }
        }
    }

    fn on(&mut self, node: usize, change: impl FnOnce(&mut Node<T>)) {
        if let Some(node) = self.nodes.get_mut(node) {
            change(node);
        }
    }

    fn on_all(&mut self, change: impl Fn(&mut Node<T>)) {
        self.nodes.iter_mut().for_each(change);
    }

    fn cut(&mut self, from: usize, to: usize, path: Path, until: Moment) {
        let cut = self.cuts.entry((from, to, path)).or_insert(until);
        *cut = until.max(*cut);
    }
}

fn lose_api<T: Reading>(node: &mut Node<T>, away: Away, until: Moment) {
    node.no_api = (away, node.no_api.1.max(until));
    node.served_since = node.served_since.max(until);
}
