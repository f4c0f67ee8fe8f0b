//! For how long PCP and NAT-PMP forward a port: in seconds, and never without an end.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_portmap::{Answer, Fault};

/// For how long a mapping is asked for that is to be without an end: a day, as much as servers of PCP should grant (RFC 6887,
/// section 15), and so those of NAT-PMP, which it succeeds.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The seconds that are asked for: zero would end the mapping.
pub(crate) fn asked(lease: Option<Duration>) -> u32 {
    u32::try_from(lease.unwrap_or(LONGEST).as_secs()).unwrap_or(u32::MAX).max(1)
}

/// The answer that a port is forwarded, if it says which and for how long.
pub(crate) fn mapped(
    external: u16,
    lifetime: u32,
    outer: Option<Ipv4Addr>,
    epoch: u32,
) -> Result<Answer, Fault> {
    if external == 0 || lifetime == 0 {
        return Err(Fault::Broken("it answers that it forwards a port, but no port or no time".to_owned()));
    }
    let lease = Some(Duration::from_secs(lifetime.into()));
    Ok(Answer::Mapped { external, lease, outer, epoch: Some(epoch) })
}
