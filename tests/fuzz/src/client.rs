//! The DHCP client under a script of inputs, replies and steps of time.

use std::{net::Ipv4Addr, time::Duration};

use arbitrary::{Arbitrary as _, Unstructured};
use dhcproto::v4::DhcpOption;
use foghorn_clock::Instant;
use foghorn_dhcp::{
    ClientConfig, Input, Lease, Output, Rejection, Transmit, Verdict,
    wire::{self, WireError},
};
use foghorn_sim::{messages::answer, witness::Witness};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::script::{Address, Foreign, Remembered, Settings, Step, Told};

/// A step does not pass more: the client's timers take a script further than that.
const MOST: Duration = Duration::from_secs(3600);

/// Reads the octets as a script and plays it to its end, or to where the octets end. [`Witness`] has the promises.
pub fn fuzz(octets: &[u8]) {
    let mut script = Unstructured::new(octets);
    let Ok(settings) = Settings::arbitrary(&mut script) else { return };
    let mut play = Play::new(settings);
    while !script.is_empty() {
        let Ok(step) = Step::arbitrary(&mut script) else { return };
        play.step(step);
    }
}

struct Play {
    witness: Witness,
    hardware_address: [u8; 6],
    now: Instant,
}

impl Play {
    fn new(settings: Settings) -> Self {
        let config = ClientConfig {
            mode: settings.mode.into(),
            finds_mode: settings.finds_mode,
            start_jitter: Duration::from_millis(settings.jitter_ms.into()),
            ..settings.choices.into()
        };
        let hardware_address = config.identity.hardware_address;
        let witness = Witness::new(config, StdRng::seed_from_u64(settings.seed));
        let now = Instant::from_boot(Duration::from_secs(1_000_000));
        Self { witness, hardware_address, now }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Start => self.input(Input::Start),
            Step::Resume(remembered) => self.input(Input::Resume(self.lease(&remembered))),
            Step::Recheck(remembered) => self.input(Input::Recheck(self.lease(&remembered))),
            Step::Confirm(address) => self.input(Input::Confirm(address.into())),
            Step::Reply(told) => self.hear(&self.reply(&told, None)),
            Step::Foreign(foreign, told) => {
                if let Ok(reply) = wire::parse(&self.reply(&told, Some(foreign))) {
                    let outputs = self.witness.input(self.now, Input::Reply(&reply));
                    assert_eq!(outputs, [], "a foreign reply means something");
                }
            }
            Step::Options(kind, options) => {
                let address = Ipv4Addr::from(Address::One);
                let octets = answer(kind.into(), self.xid(), self.hardware_address, address, []);
                let mut octets = octets.unwrap_or_default();
                // In place of the end mark.
                octets.pop();
                octets.extend(options);
                self.hear(&octets);
            }
            Step::Message(octets) => self.hear(&octets),
            Step::Reject { told, is_shared } => {
                let why = if is_shared { Rejection::Shared } else { Rejection::Refused };
                if let Ok(reply) = wire::parse(&self.reply(&told, None)) {
                    self.input(Input::Reject(&reply, why));
                }
            }
            Step::Malformed => self.input(Input::Malformed(&WireError::Cookie)),
            Step::Configure(choices) => self.witness.configure(choices.into()),
            Step::Clear => self.input(Input::Checked(Verdict::Clear)),
            Step::Taken => self.input(Input::Checked(Verdict::Conflict)),
            Step::Forbidden => self.input(Input::Checked(Verdict::Refused)),
            Step::Shared => self.input(Input::Checked(Verdict::Shared)),
            Step::Conflict => self.input(Input::Conflict),
            Step::Refused => self.input(Input::Refused),
            Step::Release => self.input(Input::Release),
            Step::LinkUp => self.input(Input::LinkUp),
            Step::Timer => {
                if let Some((at, _)) = self.witness.client().poll_timeout() {
                    self.timeout(at);
                }
            }
            Step::Pass { seconds } => self.pass(MOST.min(Duration::from_secs(seconds.into()))),
            Step::Jump { ms } => {
                self.timeout(self.now + Duration::from_millis(ms.into()));
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        verify(&self.witness.input(self.now, input));
    }

    fn timeout(&mut self, at: Instant) {
        self.now = at;
        verify(&self.witness.timeout(at));
    }

    fn hear(&mut self, octets: &[u8]) {
        if let Ok(reply) = wire::parse(octets) {
            self.input(Input::Reply(&reply));
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        // Even the shortest lease and the fastest repetition have the client act each few seconds at most.
        let most = 20 + by.as_secs() / 3;
        let mut steps = 0;
        while let Some((at, why)) = self.witness.client().poll_timeout().filter(|&(at, _)| at <= end) {
            self.timeout(at);
            steps += 1;
            assert!(steps <= most, "{steps} timers in {by:?}, now: {why}");
        }
        self.timeout(end);
    }

    fn lease(&self, remembered: &Remembered) -> Lease {
        let after = |seconds: u32| self.now + Duration::from_secs(seconds.into());
        Lease {
            address: remembered.address.into(),
            server_id: remembered.server.into(),
            subnet_mask: None,
            routers: Vec::new(),
            routes: Vec::new(),
            bound_at: self.now,
            renew_at: after(remembered.renew_in),
            rebind_at: after(remembered.rebind_in),
            expires_at: after(remembered.expires_in),
        }
    }

    fn xid(&self) -> u32 {
        self.witness.xid().unwrap_or_default()
    }

    fn reply(&self, told: &Told, foreign: Option<Foreign>) -> Vec<u8> {
        let mut options = vec![
            told.server.map(|server| DhcpOption::ServerIdentifier(server.into())),
            told.lease_time.map(|time| DhcpOption::AddressLeaseTime(time.into())),
            told.t1.map(|time| DhcpOption::Renewal(time.into())),
            told.t2.map(|time| DhcpOption::Rebinding(time.into())),
            told.rapid_commit.then_some(DhcpOption::RapidCommit),
        ];
        let (mut xid, mut hardware_address) = (self.xid(), self.hardware_address);
        match foreign {
            None => {}
            Some(Foreign::Xid) => xid ^= 1,
            Some(Foreign::HardwareAddress) => hardware_address.reverse(),
            Some(Foreign::ClientId) => options.push(Some(DhcpOption::ClientIdentifier(vec![0, 1]))),
        }
        let options = options.into_iter().flatten();
        answer(told.kind.into(), xid, hardware_address, told.address.into(), options).unwrap_or_default()
    }
}

/// What is sent is well-formed, whatever the configuration adds to it.
fn verify(outputs: &[Output]) {
    for output in outputs {
        if let Output::Transmit(Transmit { message, .. }) = output {
            assert!(message.len() >= 300, "shorter than a BOOTP message");
            assert_eq!(message.get(236..240), Some(&[99, 130, 83, 99][..]), "no cookie");
            let types = message.get(240..).and_then(|options| count(options, 53));
            assert_eq!(types, Some(1), "not one message type, or no end: {message:02x?}");
        }
    }
}

/// How many options have the code, if they are well-formed to their end and padding follows.
fn count(mut options: &[u8], wanted: u8) -> Option<u32> {
    let mut found = 0;
    loop {
        match options {
            [255, padding @ ..] => return padding.iter().all(|octet| *octet == 0).then_some(found),
            [0, rest @ ..] => options = rest,
            [code, length, rest @ ..] => {
                options = rest.get(usize::from(*length)..)?;
                found += u32::from(*code == wanted);
            }
            [] | [_] => return None,
        }
    }
}
