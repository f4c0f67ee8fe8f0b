//! One run of a case with Foghorn: the fault, and a client that watches.

use std::{thread::sleep, time::Duration};

use foghorn_lab::{Error, Result};
use foghorn_testbed::{Claim, Crowd, Fault, Ongoing};
use jiff::Timestamp;

use super::{
    trial::{Trial, Writes},
    watch::Watch,
};

/// What happens in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    /// Somebody else takes over; it is healed only then.
    Loss(Fault),
    /// It is healed after so long, and nobody should notice.
    Outage(Fault, Duration),
    /// The API server is away for so long, and a node is lost in that time.
    LossInOutage(Duration),
}

/// When in an outage a node is lost.
const INTO_OUTAGE: Duration = Duration::from_secs(5);

/// Run `number` of a case, on a plane with so many claims. Each second run hits the coordinator, the others a node that is not it, as
/// far as such a node holds an address.
pub(crate) fn trial(plane: &Crowd, course: Course, claims: usize, number: usize) -> Result<Trial> {
    let claims = plane.whole(claims)?;
    plane.quiet()?;
    let lease = plane.lease()?;
    let coordinator = lease.coordinator()?;
    let even = number.is_multiple_of(2);
    let probed = choose(plane.served(&claims), coordinator, even)?;
    let node = probed.holder.as_str();
    let role = if node == coordinator { "coordinator" } else { "member" };
    let watch = Watch::start(plane, plane.target(probed), probed.address)?;
    let (after, began) = (watch.ran(), Timestamp::now());
    let target = target(plane, course, node, even);
    let ongoing = happen(plane, course, &target, &watch)?;
    let ended = Timestamp::now();
    let (record, asking) = watch.connected()?;
    ongoing.map_or(Ok(()), Ongoing::heal)?;
    let said = asking.finish()?;
    let mut writes = plane.lab.api_writes(&plane.namespace(), began)?;
    writes.retain(|write| write.at <= ended);
    let announced = said.announced(plane.mac(node)?, after);
    Ok(Trial {
        victim: format!("{node} {role}"),
        gap: record.longest_gap(),
        silence: said.answers.longest_silence(),
        overlap: said.answers.overlap(),
        delay: record.worst_delay,
        writes: Some(Writes::of(&writes, lease.transitions, announced)),
    })
}

/// A claim that the coordinator holds, or one that it does not; any if there is none.
fn choose<'a>(claims: &'a [Claim], coordinator: &str, held_by_it: bool) -> Result<&'a Claim> {
    let wanted = claims.iter().find(|claim| (claim.holder == coordinator) == held_by_it);
    wanted
        .or_else(|| claims.first())
        .ok_or_else(|| Error::Config("the plane has no claim to be watched".to_owned()))
}

/// The node that is hit: the holder, and for a minority by turns the holder or another one, which then alone reaches the API server.
fn target(plane: &Crowd, course: Course, holder: &str, even: bool) -> String {
    let nodes = plane.lab.nodes();
    let other = nodes.iter().map(foghorn_lab::Host::name).find(|node| *node != holder);
    let by_turns = matches!(course, Course::Outage(Fault::ApiMinority, _)) && !even;
    other.filter(|_| by_turns).unwrap_or(holder).to_owned()
}

/// Comes back when connections are made again all the time; gives what is to be healed then.
fn happen<'a>(plane: &'a Crowd, course: Course, node: &'a str, watch: &Watch) -> Result<Option<Ongoing<'a>>> {
    match course {
        Course::Loss(fault) => {
            let ongoing = fault.begin(plane, node)?;
            watch.settle()?;
            Ok(Some(ongoing))
        }
        Course::Outage(fault, lasts) => {
            let ongoing = fault.begin(plane, node)?;
            sleep(lasts);
            ongoing.heal()?;
            watch.settle()?;
            Ok(None)
        }
        Course::LossInOutage(lasts) => {
            let outage = Fault::ApiDown.begin(plane, node)?;
            sleep(INTO_OUTAGE);
            let ongoing = Fault::Power.begin(plane, node)?;
            sleep(lasts.saturating_sub(INTO_OUTAGE));
            outage.heal()?;
            watch.settle()?;
            Ok(Some(ongoing))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_the_coordinator_is_watched_or_one_of_another_and_if_there_is_none_the_first() {
        let spread = [claim("w1"), claim("w2"), claim("w3")];
        assert_eq!(choose(&spread, "w2", true).unwrap().holder, "w2");
        assert_eq!(choose(&spread, "w1", false).unwrap().holder, "w2");
        assert_eq!(choose(&[claim("w1")], "w1", false).unwrap().holder, "w1");
        assert!(choose(&[], "w1", true).is_err());
    }

    fn claim(holder: &str) -> Claim {
        Claim { name: "web".to_owned(), address: [192, 0, 2, 7].into(), holder: holder.to_owned() }
    }
}
