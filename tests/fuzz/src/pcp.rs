//! Datagrams of strangers that are to be PCP or NAT-PMP.

use std::net::Ipv4Addr;

use foghorn_gateway::{natpmp, pcp};
use foghorn_portmap::Transport;

const WANTED: pcp::Wanted = pcp::Wanted {
    client: Ipv4Addr::new(192, 0, 2, 7),
    nonce: [7; 12],
    transport: Transport::Tcp,
    internal: 80,
    external: 8080,
    lifetime: 3600,
    no_other: true,
};

/// Reads the octets as a datagram, and as one that is right in its first octets but for the result.
pub fn fuzz(octets: &[u8]) {
    datagram(octets);
    let Some((result, rest)) = octets.split_first() else { return };
    for head in [[2, 128], [2, 129], [0, 128], [0, 130]] {
        datagram(&[&head, &[0, *result], rest].concat());
    }
    // All of the question but for what is the gateway's to say.
    let mut answer = pcp::ask_mapping(&WANTED);
    for (index, octet) in answer.iter_mut().enumerate() {
        match index {
            1 => *octet |= 128,
            3 => *octet = *result,
            4..24 | 42..60 => *octet = rest.get(index % rest.len().max(1)).copied().unwrap_or_default(),
            _ => {}
        }
    }
    assert!(pcp::mapping(&answer, &WANTED).is_some(), "an answer to the question");
    datagram(&answer);
}

fn datagram(octets: &[u8]) {
    let announced = (pcp::announced(octets), natpmp::announced(octets));
    assert!(announced.0.is_none() || announced.1.is_none(), "of both protocols");
    if announced.0.is_some() {
        assert_eq!(octets.first(), Some(&pcp::VERSION));
        assert!(matches!(pcp::announce(octets), Some(pcp::Said::Done { .. })));
    }
    if announced.1.is_some() {
        assert_eq!(octets.first(), Some(&natpmp::VERSION));
        assert!(matches!(natpmp::outer(octets), Some(natpmp::Said::Done { .. })));
    }
    if let Some(pcp::Said::Done { what, .. }) = pcp::mapping(octets, &WANTED) {
        assert!(octets.get(24..36) == Some(&WANTED.nonce), "another's");
        assert!(what.outer.is_none_or(|outer| !outer.is_unspecified()));
    }
    let other = pcp::Wanted { nonce: [8; 12], ..WANTED };
    let done = |wanted| matches!(pcp::mapping(octets, wanted), Some(pcp::Said::Done { .. }));
    assert!(!done(&WANTED) || !done(&other), "an answer to two questions");
    if let Some(natpmp::Said::Done { .. }) = natpmp::mapping(octets, Transport::Tcp, 80) {
        assert!(octets.get(8..10) == Some(&[0, 80]), "of another port");
    }
}
