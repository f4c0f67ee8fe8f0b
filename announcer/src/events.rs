//! What an announcer tells people as events: each thing once, as long as it stays the same.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{AddressClaim, conditions::reasons, hardware_address};
use foghorn_membership::Nowhere;
use foghorn_shell::clock::Clock;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// The same is not told again within this time.
const AGAIN: Duration = Duration::from_secs(300);
/// Events that wait for the API server at most; what comes then is only logged.
const WAITING: usize = 64;
/// Things that were told are remembered up to this number.
const REMEMBERED: usize = 4_096;

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    object: ObjectReference,
    reason: &'static str,
    note: String,
}

impl Telling {
    /// Another host says that it has the address of a claim.
    #[must_use]
    pub fn foreign_claimant(claim: &AddressClaim, address: Ipv4Addr, mac: [u8; 6], defended: bool) -> Self {
        let mac = hardware_address::format(mac);
        let done = if defended { "it was told off" } else { "the address is given up for now" };
        let note = format!(
            "{mac} claims {address} too; {done}. Take the address off that host, or out of the range that the DHCP server \
             gives out"
        );
        Self { object: claim.object_ref(&()), reason: "ForeignClaimant", note }
    }

    /// Another host uses the MAC address of a claim.
    #[must_use]
    pub fn stranger(claim: &AddressClaim, mac: [u8; 6]) -> Self {
        let mac = hardware_address::format(mac);
        let remedy = if claim.spec.dhcp.hardware_address.is_some() {
            "change the annotation of the Service, or the host"
        } else {
            "was this cluster cloned, or restored on the same network? Set dhcp.identitySeed on the copy's planes"
        };
        let note = format!("another host uses the claim's MAC address {mac}: {remedy}");
        Self { object: claim.object_ref(&()), reason: reasons::HARDWARE_ADDRESS_TAKEN, note }
    }

    /// Nobody can have a claim.
    #[must_use]
    pub fn nowhere(claim: &AddressClaim, why: Nowhere) -> Self {
        let (reason, note) = words(why);
        Self { object: claim.object_ref(&()), reason, note: note.to_owned() }
    }

    /// Somebody who is no announcer has changed the plane's Lease.
    #[must_use]
    pub fn foreign_hand(namespace: &str, lease: &str, why: &str) -> Self {
        let object = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(lease.to_owned()),
            ..ObjectReference::default()
        };
        Self { object, reason: "LeaseChanged", note: format!("{why}; the coordinator writes its view again") }
    }
}

/// The reason why nobody can have a claim, and the same for people.
#[must_use]
pub const fn words(why: Nowhere) -> (&'static str, &'static str) {
    match why {
        Nowhere::NoMember => {
            (reasons::NO_MEMBER, "no announcer of the plane has a carrier and is heard by the others")
        }
        Nowhere::NoSubnet => {
            (reasons::NO_SUBNET, "no announcer's interface is in the network of the address")
        }
    }
}

/// What was told lately.
#[derive(Debug)]
struct Memory {
    clock: Clock,
    told: BTreeMap<(String, &'static str, String), Instant>,
}

impl Memory {
    /// Whether it is to be told: it was not lately.
    fn admit(&mut self, telling: &Telling) -> bool {
        let now = (self.clock)();
        self.told.retain(|_, at| now - *at < AGAIN);
        let key = (telling.object.name.clone().unwrap_or_default(), telling.reason, telling.note.clone());
        if self.told.len() >= REMEMBERED || self.told.contains_key(&key) {
            return false;
        }
        self.told.insert(key, now);
        true
    }
}

/// Tells events, in a task of its own: the API server may be away.
#[derive(Debug)]
pub struct Teller {
    sender: mpsc::Sender<Telling>,
    memory: Memory,
}

impl Teller {
    /// A teller in the name of that Pod. On a Tokio runtime.
    #[must_use]
    pub fn start(client: Client, pod: &str, clock: Clock) -> Self {
        let reporter =
            Reporter { controller: "foghorn.dev/announcer".to_owned(), instance: Some(pod.to_owned()) };
        let (sender, mut tellings) = mpsc::channel::<Telling>(WAITING);
        tokio::spawn(async move {
            while let Some(Telling { object, reason, note }) = tellings.recv().await {
                let event = Event {
                    type_: EventType::Warning,
                    reason: reason.to_owned(),
                    note: Some(note),
                    action: "Announce".to_owned(),
                    secondary: None,
                };
                // A recorder takes events of one reason about one object for repetitions, whatever they say.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                if let Err(error) = recorder.publish(&event, &object).await {
                    debug!(%error, reason, "an event could not be published");
                }
            }
        });
        Self { sender, memory: Memory { clock, told: BTreeMap::new() } }
    }

    /// Tells it, unless the same was told lately.
    pub fn tell(&mut self, telling: Telling) {
        if self.memory.admit(&telling) {
            warn!(object = telling.object.name, reason = telling.reason, note = telling.note);
            let _full = self.sender.try_send(telling);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(1_000);

    #[test]
    fn the_same_is_told_once_in_five_minutes_and_something_else_at_once() {
        let clock = || Instant::from_boot(Duration::from_secs(NOW.load(SeqCst)));
        let mut memory = Memory { clock, told: BTreeMap::new() };
        let deleted = Telling::foreign_hand("foghorn-public", "foghorn-public", "the Lease was deleted");
        let edited = Telling::foreign_hand("foghorn-public", "foghorn-public", "the Lease's view was edited");
        assert!(memory.admit(&deleted));
        assert!(!memory.admit(&deleted));
        assert!(memory.admit(&edited));
        NOW.fetch_add(300, SeqCst);
        assert!(memory.admit(&deleted));
    }
}
