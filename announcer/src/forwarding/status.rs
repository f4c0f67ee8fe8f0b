//! What is told of a claim's ports at the gateway.

use std::net::Ipv4Addr;

use foghorn_clock::Instant;
use foghorn_crds::{
    ForwardProtocol, ForwardStatus, GatewayProtocol,
    conditions::{self, PORTS_FORWARDED, reasons},
};
use foghorn_portmap::{Port, Protocol, Report, Standing, Transport, Trouble};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, MicroTime},
    jiff::{Timestamp, Unit},
};

/// Addresses of carrier-grade NAT (RFC 6598).
const SHARED: (u32, u32) = (0x6440_0000, 0xffc0_0000);

/// What a claim's status says of its ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Each port.
    pub forwards: Vec<ForwardStatus>,
    /// The condition `PortsForwarded`; none for a claim that wants none.
    pub condition: Option<Condition>,
}

/// What is told of a report, in place of what was told `before`. Nothing while a node asks for what another one has had: that goes
/// on until the gateway says otherwise. `time` gives the API server's time of an instant.
#[must_use]
pub fn told(
    report: &Report,
    before: &[ForwardStatus],
    generation: Option<i64>,
    now: Timestamp,
    time: impl Fn(Instant) -> Option<Timestamp>,
) -> Option<Told> {
    let lasts = |of: &&ForwardStatus| of.expires_at.as_ref().is_none_or(|until| until.0 > now);
    let had = |port: Port| {
        let this = |of: &&ForwardStatus| (of.protocol, of.port) == (protocol(port), port.number);
        before.iter().find(this).filter(lasts).filter(|of| of.external_port.is_some())
    };
    if report.ports.iter().any(|(port, standing)| *standing == Standing::Asking && had(*port).is_some()) {
        return None;
    }
    let forwards =
        report.ports.iter().map(|(port, standing)| forward(report, *port, standing, had(*port), &time));
    let condition = verdict(report).map(|(holds, reason, message)| {
        conditions::condition(PORTS_FORWARDED, holds, reason, message, generation, now)
    });
    Some(Told { forwards: forwards.collect(), condition })
}

const fn protocol(port: Port) -> ForwardProtocol {
    match port.transport {
        Transport::Tcp => ForwardProtocol::Tcp,
        Transport::Udp => ForwardProtocol::Udp,
    }
}

fn forward(
    report: &Report,
    port: Port,
    standing: &Standing,
    had: Option<&ForwardStatus>,
    time: &impl Fn(Instant) -> Option<Timestamp>,
) -> ForwardStatus {
    let plain = ForwardStatus {
        protocol: protocol(port),
        port: port.number,
        external_port: None,
        external_address: None,
        gateway: report.gateway,
        by: report.protocol.map(by),
        expires_at: None,
        last_error: None,
    };
    match standing {
        Standing::Asking => plain,
        Standing::Forwarded { external, until, trouble, .. } => {
            let expires = until.and_then(time).map(|at| MicroTime(at.round(Unit::Second).unwrap_or(at)));
            ForwardStatus {
                external_port: Some(*external),
                external_address: report.outer,
                expires_at: expires,
                last_error: trouble.as_ref().map(words),
                ..plain
            }
        }
        // The gateway that is away may still have it, and is to end it one day.
        Standing::Failed(trouble) if is_away(trouble) => {
            ForwardStatus { last_error: Some(words(trouble)), ..had.cloned().unwrap_or(plain) }
        }
        Standing::Failed(trouble) => ForwardStatus { last_error: Some(words(trouble)), ..plain },
        Standing::Closing { external } => ForwardStatus {
            external_port: Some(*external),
            last_error: Some("not wanted any more; the gateway is asked to end it".to_owned()),
            ..plain
        },
    }
}

/// Whether all that is wanted is forwarded, the reason, and the same for people.
fn verdict(report: &Report) -> Option<(bool, &'static str, String)> {
    let wanted = || report.ports.iter().filter(|(_, standing)| !matches!(standing, Standing::Closing { .. }));
    wanted().next()?;
    let troubles = wanted().filter_map(|(port, standing)| match standing {
        Standing::Failed(trouble) => Some((port, trouble)),
        Standing::Asking | Standing::Forwarded { .. } | Standing::Closing { .. } => None,
    });
    let mut troubles = troubles.peekable();
    if let Some((_, first)) = troubles.peek() {
        let reason = reason(first);
        let all: Vec<_> =
            troubles.map(|(port, trouble)| format!("{}: {}", show(*port), words(trouble))).collect();
        return Some((false, reason, all.join("; ")));
    }
    if wanted().any(|(_, standing)| *standing == Standing::Asking) {
        let gateway = report.gateway.map_or_else(String::new, |gateway| format!(" {gateway}"));
        return Some((false, reasons::FORWARDING, format!("the gateway{gateway} is being asked")));
    }
    let ways: Vec<_> = wanted().map(|(port, standing)| way(*port, standing, report.outer)).collect();
    let ways = ways.join(", ");
    match report.outer {
        Some(outer) if is_public(outer) => {}
        Some(outer) => {
            let message = format!(
                "{ways}, but {outer} is no public address: there is another gateway in front of this one, which has to \
                 forward the ports too"
            );
            return Some((false, reasons::DOUBLE_NAT, message));
        }
        None => {
            let message =
                format!("{ways}, but the gateway has no outer address: is it connected to the internet?");
            return Some((false, reasons::DOUBLE_NAT, message));
        }
    }
    let permanent =
        wanted().any(|(_, standing)| matches!(standing, Standing::Forwarded { permanent_only: true, .. }));
    if permanent {
        let message = format!(
            "{ways}; the gateway takes mappings without an end only: what is left of them if all nodes are lost is to be \
             removed there by hand"
        );
        return Some((true, reasons::PERMANENT_ONLY, message));
    }
    Some((true, reasons::FORWARDED, ways))
}

/// `198.51.100.7:8443/TCP to port 443`.
fn way(port: Port, standing: &Standing, outer: Option<Ipv4Addr>) -> String {
    let external = match standing {
        Standing::Forwarded { external, .. } | Standing::Closing { external } => *external,
        Standing::Asking | Standing::Failed(_) => 0,
    };
    let outer = outer.map_or_else(|| "port ".to_owned(), |outer| format!("{outer}:"));
    format!("{outer}{external}/{} leads to port {}", port.transport, port.number)
}

fn show(port: Port) -> String {
    format!("{}/{}", port.number, port.transport)
}

const fn reason(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::NoGateway | Trouble::NotFound(_) | Trouble::Elsewhere(_) | Trouble::NoProtocol => {
            reasons::GATEWAY_NOT_FOUND
        }
        Trouble::Taken(..) => reasons::PORT_TAKEN,
        Trouble::NotAllowed(_) => reasons::FORWARDING_NOT_ALLOWED,
        Trouble::Refused(_) => reasons::GATEWAY_REFUSED,
    }
}

/// Whether the gateway that was asked before may go on with what it forwards.
const fn is_away(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::NoGateway | Trouble::NotFound(_) | Trouble::Elsewhere(_) | Trouble::NoProtocol => true,
        Trouble::Taken(..) | Trouble::NotAllowed(_) | Trouble::Refused(_) => false,
    }
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::NoGateway => {
            "no gateway is known: the DHCP leases name no router; name one in portForwarding.gateway of the plane".to_owned()
        }
        Trouble::NotFound(why) => {
            format!("the gateway does not answer; is UPnP, PCP or NAT-PMP switched on there? ({why})")
        }
        Trouble::Elsewhere(address) => format!(
            "the gateway does not answer, but {address} does: if that is the router's own address, set \
             portForwarding.gateway of the plane to {address}"
        ),
        Trouble::NoProtocol => "portForwarding.protocols of the plane is empty: add UPnP, PCP or NATPMP".to_owned(),
        Trouble::Taken(port, whose) => format!("port {port} of the gateway is forwarded to {whose} already"),
        Trouble::NotAllowed(port) => {
            format!("port {port} of the gateway is none of portForwarding.externalPorts of the plane")
        }
        Trouble::Refused(why) => format!("the gateway does not forward it: {why}"),
    }
}

const fn by(protocol: Protocol) -> GatewayProtocol {
    match protocol {
        Protocol::Igd => GatewayProtocol::UPnP,
        Protocol::Pcp => GatewayProtocol::Pcp,
        Protocol::NatPmp => GatewayProtocol::NatPmp,
    }
}

/// Whether packets from anywhere can come to an address.
fn is_public(address: Ipv4Addr) -> bool {
    let (network, mask) = SHARED;
    let shared = address.to_bits() & mask == network;
    let nowhere = address.is_unspecified() || address.is_loopback() || address.is_link_local();
    !(shared || nowhere || address.is_private() || address.is_multicast() || address.octets()[0] >= 240)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    #[test]
    fn all_is_well_when_every_port_is_forwarded_from_a_public_address() {
        let told = of(&report(Some([100, 0, 0, 1]), &[forwarded(8443)]));
        let condition = told.condition.unwrap();
        assert_eq!((&*condition.status, &*condition.reason), ("True", reasons::FORWARDED));
        assert_eq!(condition.message, "100.0.0.1:8443/TCP leads to port 1");
        let forward = &told.forwards[0];
        assert_eq!((forward.external_port, forward.by), (Some(8443), Some(GatewayProtocol::UPnP)));
        assert_eq!(forward.expires_at.as_ref().map(|at| at.0.as_second()), Some(100));
    }

    #[test]
    fn a_private_outer_address_is_no_way_in() {
        for outer in [[192, 168, 1, 2], [10, 0, 0, 1], [100, 64, 0, 1], [100, 127, 255, 255], [0, 0, 0, 0]] {
            let condition = of(&report(Some(outer), &[forwarded(8443)])).condition.unwrap();
            assert_eq!((&*condition.status, &*condition.reason), ("False", reasons::DOUBLE_NAT), "{outer:?}");
        }
        assert_eq!(of(&report(None, &[forwarded(8443)])).condition.unwrap().reason, reasons::DOUBLE_NAT);
        for outer in [[100, 63, 0, 1], [100, 128, 0, 1], [8, 8, 8, 8]] {
            assert!(is_public(outer.into()), "{outer:?}");
        }
    }

    #[test]
    fn one_port_that_fails_is_named_with_the_reason() {
        let taken = Standing::Failed(Trouble::Taken(8443, "203.0.113.9:9 (\"console\")".into()));
        let told = of(&report(Some([100, 0, 0, 1]), &[forwarded(8080), taken]));
        let condition = told.condition.unwrap();
        assert_eq!((&*condition.status, &*condition.reason), ("False", reasons::PORT_TAKEN));
        assert!(condition.message.starts_with("2/TCP: port 8443 of the gateway"), "{}", condition.message);
        assert_eq!(told.forwards[0].last_error, None);
        assert!(told.forwards[1].last_error.as_ref().unwrap().contains("console"));
    }

    #[test]
    fn a_claim_that_wants_nothing_any_more_has_no_condition() {
        assert_eq!(of(&report(None, &[])), Told::default());
        let closing = of(&report(None, &[Standing::Closing { external: 8443 }]));
        assert_eq!((closing.condition, closing.forwards[0].external_port), (None, Some(8443)));
    }

    #[test]
    fn what_another_node_has_had_stays_told_until_the_gateway_has_answered() {
        let before = of(&report(Some([100, 0, 0, 1]), &[forwarded(8443)])).forwards;
        let asking = report(None, &[Standing::Asking]);
        assert_eq!(after(&asking, &before), None);
        assert_eq!(of(&asking).condition.unwrap().reason, reasons::FORWARDING, "nobody has had it");

        let away = report(None, &[Standing::Failed(Trouble::NotFound("silence".into()))]);
        let told = after(&away, &before).unwrap();
        assert_eq!(told.condition.unwrap().reason, reasons::GATEWAY_NOT_FOUND);
        assert_eq!(told.forwards[0].external_port, Some(8443));
        assert!(told.forwards[0].last_error.as_ref().unwrap().contains("silence"));

        let taken = report(None, &[Standing::Failed(Trouble::Taken(8443, "another".into()))]);
        assert_eq!(after(&taken, &before).unwrap().forwards[0].external_port, None);

        let mut ended = before;
        ended[0].expires_at = Some(MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(after(&away, &ended).unwrap().forwards[0].external_port, None);
    }

    #[test]
    fn a_router_that_answers_by_its_own_address_is_named_with_the_remedy() {
        let elsewhere = Standing::Failed(Trouble::Elsewhere([198, 51, 100, 3].into()));
        let condition = of(&report(None, &[elsewhere])).condition.unwrap();
        assert_eq!(condition.reason, reasons::GATEWAY_NOT_FOUND);
        assert_eq!(
            condition.message,
            "1/TCP: the gateway does not answer, but 198.51.100.3 does: if that is the router's own address, set \
             portForwarding.gateway of the plane to 198.51.100.3"
        );
    }

    #[test]
    fn what_only_lasts_for_ever_is_told() {
        let standing = Standing::Forwarded { external: 80, until: None, permanent_only: true, trouble: None };
        let condition = of(&report(Some([100, 0, 0, 1]), &[standing])).condition.unwrap();
        assert_eq!((&*condition.status, &*condition.reason), ("True", reasons::PERMANENT_ONLY));
    }

    fn of(report: &Report) -> Told {
        after(report, &[]).unwrap()
    }

    fn after(report: &Report, before: &[ForwardStatus]) -> Option<Told> {
        let time = |at: Instant| Timestamp::from_second(at.since_boot().as_secs().try_into().unwrap()).ok();
        told(report, before, Some(1), Timestamp::UNIX_EPOCH, time)
    }

    fn forwarded(external: u16) -> Standing {
        let until = Some(Instant::from_boot(Duration::from_secs(100)));
        Standing::Forwarded { external, until, permanent_only: false, trouble: None }
    }

    /// Of ports 1, 2 and so on.
    fn report(outer: Option<[u8; 4]>, standings: &[Standing]) -> Report {
        let port = |number| Port { transport: Transport::Tcp, number };
        let ports: BTreeMap<_, _> = (1..).map(port).zip(standings.iter().cloned()).collect();
        Report {
            gateway: Some([203, 0, 113, 1].into()),
            protocol: Some(Protocol::Igd),
            outer: outer.map(Ipv4Addr::from),
            ports,
            gone: false,
        }
    }
}
