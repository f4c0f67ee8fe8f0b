//! Carries what the machines say to each other and outwards.

use foghorn_clock::Instant;
use foghorn_crds::{OnConflict, hardware_address};
use foghorn_dhcp::{self as dhcp, Mode, Verdict};
use foghorn_l2::{self as l2, L2};
use tracing::{debug, warn};

use super::{Conflict, Engine, Output};

/// What to do about an address that another host has.
const AWAY: &str = "take it off that host, or out of the range that the DHCP server gives out";

impl Engine {
    pub(super) fn tell(&mut self, now: Instant, name: &str, input: dhcp::Input<'_>) {
        if let Some(held) = self.held.get_mut(name) {
            held.client.handle_input(now, input);
            self.touched.insert(name.to_owned());
        }
    }

    pub(super) fn tell_l2(&mut self, now: Instant, input: l2::Input<'_>) {
        if let Some(l2) = &mut self.l2 {
            l2.handle_input(now, input);
        }
    }

    /// Carries what the machines say to each other and outwards, until all are quiet.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.l2.as_mut().and_then(L2::poll_output) {
                self.take_l2(now, output);
                continue;
            }
            let Some(name) = self.touched.pop_first() else { break };
            self.listen(&name);
            while let Some(output) = self.held.get_mut(&name).and_then(|held| held.client.poll_output()) {
                self.take_client(now, &name, output);
            }
            self.after(now, &name);
            self.renew_identity(now, &name);
        }
    }

    fn take_l2(&mut self, now: Instant, output: l2::Output) {
        match output {
            l2::Output::Send { kind, address, frame } => self.send_arp(kind, address, frame),
            l2::Output::ProbeClear(address) => self.checked(now, address, Verdict::Clear),
            l2::Output::ProbeConflict { address, mac } => {
                self.remark(address, format!("{} answers for it; {AWAY}", hardware_address::format(mac)));
                self.checked(now, address, Verdict::Conflict);
            }
            l2::Output::Conflict { address, mac, defended } => {
                warn!(%address, mac = hardware_address::format(mac), defended, "another host claims the address");
                self.metrics.conflict();
                let Some(claim) = self.by_address.get(&address).cloned() else { return };
                // RFC 5227, 2.4: either (b), or (c) where the plane says so.
                let keeps =
                    self.config.as_ref().is_some_and(|c| c.announce.on_conflict == OnConflict::Defend);
                let defended = defended || keeps;
                let conflict = Conflict { claim: claim.clone(), address, mac, defended };
                self.outputs.push_back(Output::Conflict(conflict));
                if !defended {
                    self.remark(address, format!("{} claims it; {AWAY}", hardware_address::format(mac)));
                    self.tell(now, &claim, dhcp::Input::Conflict);
                }
            }
            l2::Output::Resolved { target, mac } => self.resolved(target, Some(mac)),
            l2::Output::Unresolved { target } => self.resolved(target, None),
        }
    }

    fn take_client(&mut self, now: Instant, name: &str, output: dhcp::Output) {
        match output {
            dhcp::Output::Transmit(transmit) => self.transmit(now, name, transmit),
            dhcp::Output::Check(lease) => self.check(now, name, &lease),
            dhcp::Output::Bound(lease) => self.announce(now, name, &lease),
            dhcp::Output::Renewed(lease) => {
                debug!(claim = name, address = %lease.address, server = %lease.server_id, "lease renewed");
                self.renewed(now, name, lease);
            }
            dhcp::Output::Lost { address, reason } => {
                warn!(claim = name, %address, %reason, "address lost");
                self.withdraw(now, name);
            }
            dhcp::Output::Released => {
                self.withdraw(now, name);
                let Some(held) = self.held.get_mut(name) else { return };
                held.released = held.waiting.is_none();
            }
        }
    }

    /// Has the interface receive what is sent to the claim while an exchange is in flight; before its first message.
    fn listen(&mut self, name: &str) {
        let Some(held) = self.held.get_mut(name) else { return };
        // The interface receives what is sent to itself anyway.
        let wanted = held.client.exchange_in_flight()
            && held.client.config().mode != Mode::NodeMac
            && held.fault.is_none();
        if held.joined != wanted {
            held.joined = wanted;
            let mac = held.client.config().identity.hardware_address;
            self.outputs.push_back(if wanted { Output::Join(mac) } else { Output::Leave(mac) });
        }
    }
}
