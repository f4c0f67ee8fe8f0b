//! How a network goes wrong, and right again.

use std::{ops::Range, time::Duration};

use foghorn_dhcp::Input;

use crate::{
    network::Weather,
    schedule::{Fault, Forgets},
    server::Server,
    world::{Event, World},
};

impl World {
    pub(crate) fn go_wrong(&mut self, fault: Fault) {
        match fault {
            Fault::Weather(weather) => self.weather = weather,
            Fault::Away(server, time) => {
                self.server(server, |server| server.is_up = false);
                self.time.after(time, Event::Back(server));
            }
            Fault::Restart(server, forgets) => {
                self.server(server, |server| server.restart(forgets == Forgets::Everything));
            }
            Fault::Renumber(server) => self.server(server, Server::renumber),
            Fault::Refuses(server, time) => {
                self.server(server, |server| server.refuses = true);
                self.time.after(time, Event::Relents(server));
            }
            Fault::Moves(server, time) => {
                self.server(server, |server| server.moves = true);
                self.time.after(time, Event::Stays(server));
            }
            Fault::FailOver(claim, gap) => self.fail_over(claim, gap, true),
            Fault::UnsureFailOver(claim, gap) => self.fail_over(claim, gap, false),
            Fault::Stop(claim, time) => {
                for claim in self.with_neighbours(claim) {
                    if let Some(claim) = self.claims.get_mut(claim) {
                        claim.is_stopped = true;
                    }
                    self.time.after(time, Event::GoOn(claim));
                }
            }
            Fault::LinkUp => {
                for claim in 0..self.claims.len() {
                    self.tell(claim, Input::LinkUp);
                }
            }
            Fault::Squat(claim, time) => {
                if let Some(address) = self.announced(claim) {
                    self.squatted.insert(address);
                    self.time.after(time, Event::Vacated(address));
                    self.tell(claim, Input::Conflict);
                }
            }
            Fault::Forbid(claim, time) => {
                if let Some(address) = self.announced(claim) {
                    self.forbidden.insert(address);
                    self.time.after(time, Event::Allowed(address));
                    self.tell(claim, Input::Refused);
                }
            }
            Fault::Remake(claim, gap) => {
                // What a stopped process does not hear, the next one does.
                if self.claims.get(claim).is_some_and(|claim| claim.witness.is_some() && !claim.is_stopped) {
                    self.tell(claim, Input::Release);
                    self.time.after(gap, Event::Begin(claim, true));
                }
            }
        }
    }

    /// All that may go wrong goes right from now on.
    pub(crate) fn calm_down(&mut self) {
        self.quiet_from = self.time.now();
        self.weather = Weather::CALM;
        self.squatted.clear();
        self.forbidden.clear();
        for server in &mut self.servers {
            (server.is_up, server.refuses, server.moves) = (true, false, false);
        }
        for claim in 0..self.claims.len() {
            self.go_on(claim);
        }
    }

    fn fail_over(&mut self, claim: usize, gap: Duration, is_sure: bool) {
        for claim in self.with_neighbours(claim) {
            if let Some(claim) = self.claims.get_mut(claim) {
                claim.abandon();
            }
            self.figures.fail_overs += 1;
            self.time.after(gap, Event::Begin(claim, is_sure));
        }
    }

    /// The claims on the node of this one.
    fn with_neighbours(&self, claim: usize) -> Range<usize> {
        if self.habits.one_node { 0..self.claims.len() } else { claim..claim + 1 }
    }

    pub(crate) fn server(&mut self, server: usize, change: impl FnOnce(&mut Server)) {
        self.servers.get_mut(server).map(change);
    }
}
