//! What holds whatever the gateway says: no mapping is asked for that may not be, none is removed that may be another's, and none
//! is told to be forwarded that was not granted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use foghorn_clock::Instant;
use foghorn_portmap::{
    Answer, Ask, Config, Fault, Mapping, Port, Protocol, Report, Request, Standing, Wanted,
};

use super::PREFIX;

/// Letters and digits of a description that are enough to know it by.
const ENOUGH: usize = 23;

/// What was asked and granted.
#[derive(Debug, Default)]
pub(crate) struct Oath {
    /// Ports of the gateway that were asked for, or had before.
    asked: BTreeSet<Port>,
    /// Ports of the gateway at which an entry was shown that is known to be the plane's.
    shown: BTreeSet<Port>,
    grants: BTreeMap<(Arc<str>, Port), Vec<Grant>>,
    number: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Grant {
    address: Ipv4Addr,
    external: u16,
    until: Option<Instant>,
}

impl Oath {
    pub(crate) fn want(&mut self, wanted: &BTreeMap<Arc<str>, Wanted>) {
        for (port, external) in wanted.values().flat_map(|wanted| &wanted.had) {
            self.asked.insert(Port { transport: port.transport, number: *external });
        }
    }

    pub(crate) fn lose(&mut self, claim: &str) {
        self.grants.retain(|(of, _), _| &**of != claim);
    }

    pub(crate) fn asked(&mut self, request: &Request, config: &Config, wanted: &BTreeMap<Arc<str>, Wanted>) {
        assert!(request.number > self.number, "numbers rise");
        self.number = request.number;
        assert!(config.protocols.contains(&request.protocol) || request.ask != Ask::Find);
        let of =
            wanted.get(&request.claim).unwrap_or_else(|| unreachable!("asked for no claim: {request:?}"));
        assert_eq!(request.source, of.address, "spoken from another address");
        match &request.ask {
            Ask::Map(mapping) => {
                assert!(config.ports.iter().any(|range| range.contains(&mapping.external)), "{mapping:?}");
                assert!(of.ports.contains_key(&mapping.port) && !of.ending, "{mapping:?}");
                assert!(is_known(&mapping.description, &of.description), "{mapping:?}");
                self.asked.insert(at_gateway(mapping));
            }
            // NAT-PMP and PCP name the host's own port.
            Ask::Unmap(mapping) if request.protocol == Protocol::Igd => {
                let port = at_gateway(mapping);
                assert!(self.asked.contains(&port) || self.shown.contains(&port), "another's: {mapping:?}");
            }
            Ask::Find | Ask::Outer | Ask::Unmap(_) | Ask::Entry(_) | Ask::List(_) => {}
        }
    }

    pub(crate) fn answered(&mut self, now: Instant, request: &Request, answer: &Result<Answer, Fault>) {
        match (&request.ask, answer) {
            (Ask::Map(mapping), Ok(Answer::Mapped { external, lease, .. })) => {
                let key = (request.claim.clone(), mapping.port);
                let grant = Grant {
                    address: request.source,
                    external: *external,
                    until: lease.map(|lease| now + lease),
                };
                self.grants.entry(key).or_default().push(grant);
                self.asked.insert(Port { transport: mapping.port.transport, number: *external });
            }
            (Ask::Entry(_) | Ask::List(_), Ok(Answer::Entry(Some(entry)))) => {
                let is_plane_s = letters(&entry.description).len() >= ENOUGH
                    && letters(&entry.description).starts_with(&letters(PREFIX));
                if is_plane_s {
                    self.shown.insert(entry.external);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn told(&self, claim: &Arc<str>, report: &Report, wanted: &BTreeMap<Arc<str>, Wanted>) {
        let Some(of) = wanted.get(claim) else { return };
        for (port, standing) in &report.ports {
            let Standing::Forwarded { external, until, .. } = standing else { continue };
            let grant = Grant { address: of.address, external: *external, until: *until };
            let grants = self.grants.get(&(claim.clone(), *port));
            assert!(grants.is_some_and(|grants| grants.contains(&grant)), "not granted: {port:?}, {grant:?}");
        }
    }
}

fn at_gateway(mapping: &Mapping) -> Port {
    Port { transport: mapping.port.transport, number: mapping.external }
}

fn is_known(said: &str, description: &str) -> bool {
    said == description || (letters(said).len() >= ENOUGH && letters(description).starts_with(&letters(said)))
}

fn letters(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}
