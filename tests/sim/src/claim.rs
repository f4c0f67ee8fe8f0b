//! A claim: the client that holds its address now, and what is known of it when that client is gone.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use foghorn_dhcp::{ClientConfig, Family, Identity, Input, Lease, Mode, Output, Owner};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{schedule::Habits, witness::Witness};

/// The last word on a claim that outlives its node: what `AddressClaim.status` says.
#[derive(Clone, Debug)]
enum Report {
    InUse(Lease),
    /// The server leased it; whether it is free was not seen.
    Checking(Lease),
}

/// The hardware address of the node's own interface.
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A claim and its client, if it has one.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) identity: Identity,
    /// `None` between two nodes, and while the Service is deleted.
    pub(crate) witness: Option<Witness>,
    /// The process does not run; it announces nothing and hears nothing.
    pub(crate) is_stopped: bool,
    report: Option<Report>,
    /// How its frames are made, if that was found out.
    mode: Option<Mode>,
    /// Since when it has a client and no address.
    pub(crate) idle_since: Option<Instant>,
    /// Addresses that were in use elsewhere, since then.
    pub(crate) declined: u32,
    /// Messages sent, by day.
    pub(crate) days: Vec<u32>,
}

impl Claim {
    pub(crate) fn new(number: usize, habits: &Habits) -> Self {
        let service = format!("web-{number}");
        let owner = Owner {
            cluster: "c",
            plane: "public",
            namespace: "default",
            service: &service,
            family: Family::V4,
        };
        let mut identity = Identity::derive(&owner);
        if habits.node_mac {
            identity.hardware_address = NODE;
        }
        Self {
            identity,
            witness: None,
            is_stopped: false,
            report: None,
            mode: None,
            idle_since: None,
            declined: 0,
            days: Vec::new(),
        }
    }

    /// The lease by whose right the address is announced at this moment.
    pub(crate) fn announced(&self) -> Option<&Lease> {
        self.witness.as_ref().filter(|_| !self.is_stopped)?.in_use()
    }

    /// The address that is remembered while no client holds it.
    pub(crate) fn remembered(&self) -> Option<Ipv4Addr> {
        match self.report.as_ref()? {
            Report::InUse(lease) | Report::Checking(lease) => Some(lease.address),
        }
    }

    /// Nothing is remembered any more.
    pub(crate) fn forget(&mut self) {
        self.report = None;
    }

    /// Whether it announces or probes the address.
    pub(crate) fn holds(&self, address: Ipv4Addr) -> bool {
        [self.announced(), self.checking()].into_iter().flatten().any(|lease| lease.address == address)
    }

    /// The lease whose address is being probed.
    pub(crate) fn checking(&self) -> Option<&Lease> {
        self.witness.as_ref().filter(|_| !self.is_stopped)?.checking()
    }

    /// When the client wants to be told the time.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.witness.as_ref().filter(|_| !self.is_stopped)?.client().poll_timeout().map(|(at, _)| at)
    }

    /// Another node takes the claim in hand, by what was reported. `is_sure`: it knows how late it is.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        habits: &Habits,
        rng: &mut StdRng,
        is_sure: bool,
    ) -> Vec<Output> {
        let first = if habits.node_mac { Mode::NodeMac } else { Mode::VirtualMac };
        let config = ClientConfig {
            mode: self.mode.unwrap_or(first),
            finds_mode: habits.finds_mode,
            rapid_commit: habits.rapid_commit,
            confirm_takeover: habits.confirm_takeover,
            offer_wait: habits.offer_wait,
            broadcast: rng.random(),
            start_jitter: rng.random_range(Duration::ZERO..Duration::from_secs(1)),
            ..ClientConfig::new(self.identity.clone())
        };
        let witness = Witness::new(config, StdRng::seed_from_u64(rng.random()));
        let witness = self.witness.insert(witness);
        self.is_stopped = false;
        self.idle_since = Some(now);
        self.declined = 0;
        let input = match self.report.take() {
            Some(Report::InUse(lease)) if is_sure => Input::Resume(lease),
            Some(Report::InUse(lease)) => Input::Confirm(lease.address),
            Some(Report::Checking(lease)) => Input::Recheck(lease),
            None => Input::Start,
        };
        witness.input(now, input)
    }

    /// The client is gone, without a word to the server.
    pub(crate) fn abandon(&mut self) {
        self.witness = None;
        self.is_stopped = false;
        self.idle_since = None;
    }

    /// Notes how the claim stands.
    pub(crate) fn note(&mut self, now: Instant, output: &Output) {
        match output {
            Output::Transmit(_) => {
                let day = usize::try_from(now.since_boot().as_secs() / 86_400).unwrap_or_default();
                self.days.resize(self.days.len().max(day + 1), 0);
                if let Some(sent) = self.days.get_mut(day) {
                    *sent += 1;
                }
            }
            Output::Check(_) => {}
            Output::Bound(_) | Output::Renewed(_) => {
                self.idle_since = None;
                self.declined = 0;
            }
            Output::Lost { .. } => {
                self.idle_since.get_or_insert(now);
            }
            Output::Released => self.idle_since = None,
        }
    }

    /// Notes what outlives the node.
    pub(crate) fn report(&mut self) {
        let Some(witness) = &self.witness else { return };
        self.mode = witness.client().mode().or(self.mode);
        let in_use = witness.in_use().cloned().map(Report::InUse);
        self.report = in_use.or_else(|| witness.checking().cloned().map(Report::Checking));
    }
}
