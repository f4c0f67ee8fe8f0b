//! NAT-PMP spoken.

use std::net::SocketAddrV4;

use foghorn_portmap::{Answer, Ask, Fault, Mapping, Request};

use super::{Code, Mapped, Said, ask_mapping, ask_outer, mapping, outer};
use crate::{exchange::exchange, lease, outlet::Outlet};

/// Asks once.
pub(crate) async fn ask(outlet: &Outlet, server: SocketAddrV4, request: &Request) -> Result<Answer, Fault> {
    match &request.ask {
        Ask::Find | Ask::Outer => ask_for_outer(outlet, server).await,
        Ask::Map(wanted) => {
            let asked = Mapped { external: wanted.external, lifetime: lease::asked(wanted.lease) };
            let (epoch, mapped) = ask_for_mapping(outlet, server, wanted, asked).await?;
            lease::mapped(mapped.external, mapped.lifetime, None, epoch)
        }
        Ask::Unmap(wanted) => {
            ask_for_mapping(outlet, server, wanted, Mapped { external: 0, lifetime: 0 }).await?;
            Ok(Answer::Unmapped)
        }
        Ask::Entry(_) | Ask::List(_) => {
            Err(Fault::Unsupported("NAT-PMP does not tell what is forwarded".to_owned()))
        }
    }
}

async fn ask_for_outer(outlet: &Outlet, server: SocketAddrV4) -> Result<Answer, Fault> {
    match exchange(outlet, server, &ask_outer(), outer).await? {
        Said::Done { epoch, what } => {
            Ok(Answer::Found { outer: Some(what).filter(|what| !what.is_unspecified()), epoch: Some(epoch) })
        }
        // It speaks the protocol, and may get an address later.
        Said::Failed { epoch, code: Code::NetworkFailure } => {
            Ok(Answer::Found { outer: None, epoch: Some(epoch) })
        }
        Said::Failed { code, .. } => Err(fault(code)),
        Said::OtherVersion => Err(other_version()),
    }
}

async fn ask_for_mapping(
    outlet: &Outlet,
    server: SocketAddrV4,
    wanted: &Mapping,
    asked: Mapped,
) -> Result<(u32, Mapped), Fault> {
    let port = wanted.port;
    let question = ask_mapping(port.transport, port.number, asked);
    match exchange(outlet, server, &question, |answer| mapping(answer, port.transport, port.number)).await? {
        Said::Done { epoch, what } => Ok((epoch, what)),
        Said::Failed { code, .. } => Err(fault(code)),
        Said::OtherVersion => Err(other_version()),
    }
}

fn fault(code: Code) -> Fault {
    match code {
        Code::UnsupportedVersion => other_version(),
        Code::UnsupportedOpcode => Fault::Unsupported("it does not know what NAT-PMP asks for".to_owned()),
        Code::NotAuthorized => Fault::Refused("it does not allow it".to_owned()),
        Code::NetworkFailure => Fault::Refused("it has no outer address".to_owned()),
        Code::OutOfResources => Fault::Full,
        Code::Other(number) => Fault::Refused(format!("it refuses with NAT-PMP's code {number}")),
    }
}

fn other_version() -> Fault {
    Fault::Unsupported("it speaks no NAT-PMP".to_owned())
}
