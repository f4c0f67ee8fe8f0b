//! PCP spoken.

use std::net::SocketAddrV4;

use foghorn_portmap::{Answer, Ask, Fault, Mapping, Request};

use super::{Code, Said, Wanted, announce, ask_announce, ask_mapping, mapping};
use crate::{exchange::exchange, lease, outlet::Outlet};

/// Asks once.
pub(crate) async fn ask(outlet: &Outlet, server: SocketAddrV4, request: &Request) -> Result<Answer, Fault> {
    match &request.ask {
        Ask::Find | Ask::Outer => {
            match exchange(outlet, server, &ask_announce(outlet.source), announce).await? {
                Said::Done { epoch, .. } => Ok(Answer::Found { outer: None, epoch: Some(epoch) }),
                Said::Failed(code) => Err(fault(code)),
                Said::OtherVersion => Err(other_version()),
            }
        }
        Ask::Map(asked) => ask_to_map(outlet, server, asked).await,
        Ask::Unmap(asked) => {
            let wanted = Wanted { external: 0, lifetime: 0, no_other: false, ..wanted(outlet, asked) };
            match ask_for_mapping(outlet, server, &wanted).await? {
                // What miniupnpd answers if there is no such mapping; it should be a success (section 15.1).
                Ok(_) | Err(Code::NoResources) => Ok(Answer::Unmapped),
                Err(code) => Err(fault(code)),
            }
        }
        Ask::Entry(_) | Ask::List(_) => {
            Err(Fault::Unsupported("PCP does not tell what is forwarded".to_owned()))
        }
    }
}

/// A server that does not know the option may give another port.
async fn ask_to_map(outlet: &Outlet, server: SocketAddrV4, asked: &Mapping) -> Result<Answer, Fault> {
    let wanted = wanted(outlet, asked);
    let mut answer = ask_for_mapping(outlet, server, &wanted).await?;
    if answer.as_ref().err() == Some(&Code::UnsupportedOption) {
        answer = ask_for_mapping(outlet, server, &Wanted { no_other: false, ..wanted }).await?;
    }
    let (epoch, mapped) = answer.map_err(fault)?;
    lease::mapped(mapped.external, mapped.lifetime, mapped.outer, epoch)
}

async fn ask_for_mapping(
    outlet: &Outlet,
    server: SocketAddrV4,
    wanted: &Wanted,
) -> Result<Result<(u32, super::Mapped), Code>, Fault> {
    match exchange(outlet, server, &ask_mapping(wanted), |answer| mapping(answer, wanted)).await? {
        Said::Done { epoch, what } => Ok(Ok((epoch, what))),
        Said::Failed(code) => Ok(Err(code)),
        Said::OtherVersion => Err(other_version()),
    }
}

fn wanted(outlet: &Outlet, asked: &Mapping) -> Wanted {
    Wanted {
        client: outlet.source,
        nonce: asked.nonce,
        transport: asked.port.transport,
        internal: asked.port.number,
        external: asked.external,
        lifetime: lease::asked(asked.lease),
        no_other: true,
    }
}

fn fault(code: Code) -> Fault {
    match code {
        Code::UnsupportedVersion => other_version(),
        Code::UnsupportedOpcode => Fault::Unsupported("it does not know what PCP asks for".to_owned()),
        Code::NotAuthorized => Fault::Refused("it does not allow it".to_owned()),
        Code::NetworkFailure => Fault::Refused("it does not get through to its own network".to_owned()),
        Code::NoResources | Code::UserExceededQuota => Fault::Full,
        Code::UnsupportedProtocol => Fault::Refused("it does not forward this transport protocol".to_owned()),
        Code::CannotProvideExternal => Fault::Taken,
        Code::AddressMismatch => {
            Fault::Refused("the question came to it from another address than it was sent from".to_owned())
        }
        Code::UnsupportedOption => Fault::Refused("it refuses with PCP's code 5".to_owned()),
        Code::Other(number) => Fault::Refused(format!("it refuses with PCP's code {number}")),
    }
}

fn other_version() -> Fault {
    Fault::Unsupported("it speaks no PCP".to_owned())
}
