//! Faults at random for a while, and what must hold all the time.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use foghorn_lab::{Error, Result, until};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    answers::Answers,
    crowd::{Claim, Crowd},
    fault::{Fault, Ongoing},
    observer::Observer,
};

/// Between two asks for an address.
const ASK: Duration = Duration::from_millis(20);

/// What is done, and what must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chaos {
    /// The same faults in the same order for the same seed, each of the coordinator or of the same node; when each comes about is
    /// the machine's.
    pub seed: u64,
    /// How long faults go on to be made.
    pub lasts: Duration,
    /// How many claims the plane has.
    pub claims: usize,
    /// How long two nodes may answer for one address at most, whatever happens.
    pub overlap: Duration,
    /// How long after all is healed each address has one holder that serves, at the latest.
    pub recovery: Duration,
}

impl Default for Chaos {
    /// Six claims, half a second, half a minute.
    fn default() -> Self {
        Self {
            seed: 0,
            lasts: Duration::from_secs(120),
            claims: 6,
            overlap: Duration::from_millis(500),
            recovery: Duration::from_secs(30),
        }
    }
}

/// Makes faults on a plane that has so many Services, and heals them; after each, every claim must have one holder that alone
/// answers ARP and serves, and at no time may two nodes answer for one address for longer than is allowed. Gives a line for each fault.
///
/// # Errors
/// What did not hold, with the seed and all that was done.
pub fn chaos(plane: &Crowd, chaos: &Chaos) -> Result<Vec<String>> {
    let mut run = Run {
        plane,
        chaos,
        rng: StdRng::seed_from_u64(chaos.seed),
        began: Instant::now(),
        history: Vec::new(),
    };
    let ended = run.run();
    ended.map_err(|error| {
        let Run { history, chaos, .. } = &run;
        Error::Config(format!("{error}\nseed {}; what was done:\n{}", chaos.seed, history.join("\n")))
    })?;
    Ok(run.history)
}

struct Run<'a> {
    plane: &'a Crowd,
    chaos: &'a Chaos,
    rng: StdRng,
    began: Instant,
    history: Vec<String>,
}

impl Run<'_> {
    fn run(&mut self) -> Result<()> {
        let nodes: Vec<_> = self.plane.lab.nodes().iter().map(|node| node.name().to_owned()).collect();
        let mut claims = self.plane.whole(self.chaos.claims)?;
        while self.began.elapsed() < self.chaos.lasts {
            let addresses: Vec<_> = claims.iter().map(|claim| claim.address).collect();
            let observer = Observer::start(&self.plane.lab, Crowd::NETWORK, &addresses, ASK)?;
            // With everything on one node, the others would be hit most of the time.
            let (any, coordinator) = (nodes.choose(&mut self.rng).cloned(), self.rng.random_bool(0.5));
            let node = if coordinator {
                self.plane.lease()?.coordinator()?.to_owned()
            } else {
                any.unwrap_or_default()
            };
            let happened = self.happen(&node);
            let recovered = happened.and_then(|()| self.recover());
            let answers = observer.finish()?;
            claims = recovered?;
            self.check(&claims, &answers)?;
        }
        Ok(())
    }

    /// One fault on a node, now and then while the API server has one as well, each for a while.
    fn happen(&mut self, node: &str) -> Result<()> {
        let plane = self.plane;
        let besides: Vec<_> = Fault::ALL.into_iter().filter(|fault| fault.is_of_api()).collect();
        let besides = if self.rng.random_bool(0.25) { besides.choose(&mut self.rng).copied() } else { None };
        let possible = |fault: &Fault| besides.is_none() || !(fault.is_of_api() || fault.needs_api());
        let faults: Vec<_> = Fault::ALL.into_iter().filter(possible).collect();
        let fault = *faults.choose(&mut self.rng).unwrap_or(&Fault::Kill);
        let [before, during, after] =
            [0..3_000, 500..10_000, 0..3_000].map(|range| self.rng.random_range(range));
        let also = besides.map(|besides| format!(" during {besides:?}")).unwrap_or_default();
        self.note(&format!("{fault:?} of {node}{also}, for {during} ms"));
        let besides = besides.map(|besides| besides.begin(plane, node)).transpose()?;
        sleep(Duration::from_millis(before));
        let ongoing = fault.begin(plane, node)?;
        sleep(Duration::from_millis(during));
        ongoing.heal()?;
        sleep(Duration::from_millis(after));
        besides.map_or(Ok(()), Ongoing::heal)
    }

    fn recover(&mut self) -> Result<Vec<Claim>> {
        let healed = Instant::now();
        let what = "each address with one holder that serves, after all is healed";
        until(what, self.chaos.recovery, || {
            let claims = self.plane.claims()?;
            if claims.len() != self.chaos.claims {
                return Err(Error::Config(format!("{} claims have an address and a holder", claims.len())));
            }
            self.plane.held_by_one(&claims)?;
            self.plane.serves(&claims)?;
            Ok(Some(()))
        })?;
        self.note(&format!("  recovered {:.1?} after it was healed", healed.elapsed()));
        // A fault is to find all announcers there; that is the cluster's work, and takes as long as it does.
        self.plane.whole(self.chaos.claims)
    }

    fn check(&mut self, claims: &[Claim], answers: &BTreeMap<Ipv4Addr, Answers>) -> Result<()> {
        let worst = answers.values().map(Answers::longest_overlap).max().unwrap_or_default();
        let silent = answers.values().map(Answers::longest_silence).max().unwrap_or_default();
        self.note(&format!("  two nodes answered for {worst:?} at worst, nobody for {silent:.1?}"));
        held(claims, answers, self.chaos.overlap)
    }

    fn note(&mut self, what: &str) {
        let line = format!("{:>7.1} s: {what}", self.began.elapsed().as_secs_f32());
        println!("{line}");
        self.history.push(line);
    }
}

/// What must have held while these addresses were asked for: two nodes for no longer than that, and the claims have them still.
fn held(claims: &[Claim], answers: &BTreeMap<Ipv4Addr, Answers>, allowed: Duration) -> Result<()> {
    let longest = answers.iter().map(|(address, answers)| (answers.longest_overlap(), address)).max();
    if let Some((overlap, address)) = longest.filter(|(overlap, _)| *overlap > allowed) {
        let what =
            format!("two nodes answered for {address} at once for {overlap:?}, {allowed:?} are allowed");
        return Err(Error::Config(what));
    }
    let changed = claims.iter().find(|claim| !answers.contains_key(&claim.address));
    changed.map_or(Ok(()), |Claim { name, address, .. }| {
        Err(Error::Config(format!("{name} has another address than before: {address}")))
    })
}

#[cfg(test)]
mod tests {
    use crate::answers::Heard;

    use super::*;

    #[test]
    fn two_nodes_may_answer_for_as_long_as_is_allowed_and_no_longer() {
        let answers = |both: usize| {
            let heard = [(A, 0..100), (B, 100 - both..200)];
            let heard = heard.into_iter().flat_map(|(mac, asks)| asks.map(move |ask| heard_at(ask, mac)));
            BTreeMap::from([(ADDRESS, Answers { asks: 200, heard: heard.collect(), ..Answers::new(ASK) })])
        };
        let allowed = 25 * ASK;
        held(&[claim(ADDRESS)], &answers(25), allowed).unwrap();
        assert!(held(&[claim(ADDRESS)], &answers(26), allowed).unwrap_err().to_string().contains("520ms"));
    }

    #[test]
    fn a_claim_keeps_its_address() {
        let answers = BTreeMap::from([(ADDRESS, Answers::new(ASK))]);
        let changed = held(&[claim(Ipv4Addr::new(192, 0, 2, 8))], &answers, ASK).unwrap_err();
        assert!(changed.to_string().contains("192.0.2.8"));
    }

    fn heard_at(ask: usize, mac: [u8; 6]) -> Heard {
        Heard { ask, at: Duration::ZERO, mac }
    }

    fn claim(address: Ipv4Addr) -> Claim {
        Claim { name: "web".to_owned(), address, holder: "w1".to_owned() }
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
}
