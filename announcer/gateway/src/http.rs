//! HTTP with a gateway, within bounds.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use foghorn_portmap::Fault;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{select, time::timeout};

use crate::{
    document::LONGEST,
    fault::{broken, silent, words},
    outlet::Outlet,
    place::Place,
};

/// How long it all may take, from the first packet to the end of the body.
const PATIENCE: Duration = Duration::from_secs(4);
/// Octets of the longest head.
const LONGEST_HEAD: usize = 16 * 1024;
/// As hyper has it.
const MOST_HEADERS: usize = 100;

/// What a gateway answers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Fetches a document.
pub(crate) async fn get(outlet: &Outlet, from: &Place) -> Result<Bytes, Fault> {
    let reply = ask(outlet, from, Request::get(from.path()), Bytes::new()).await?;
    match reply.status {
        StatusCode::OK => Ok(reply.body),
        status => Err(Fault::Broken(words(&format!("HTTP {} from {from}", status.as_u16())))),
    }
}

/// Asks a service of UPnP (UPnP Device Architecture 1.1, section 3.2.1).
pub(crate) async fn post(outlet: &Outlet, to: &Place, action: &str, body: &str) -> Result<Reply, Fault> {
    let head = Request::post(to.path())
        .header(header::CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
        .header("SOAPAction", action);
    ask(outlet, to, head, Bytes::copy_from_slice(body.as_bytes())).await
}

async fn ask(
    outlet: &Outlet,
    place: &Place,
    head: hyper::http::request::Builder,
    body: Bytes,
) -> Result<Reply, Fault> {
    let question = head
        .header(header::HOST, place.address().to_string())
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|error| broken(&error))?;
    let late = |_| Fault::Silent(words(&format!("no answer in time from {place}")));
    let reply = timeout(PATIENCE, converse(outlet, place, question)).await.map_err(late)??;
    // Where it would lead is not the gateway, or not what its description says.
    if reply.status.is_redirection() {
        return Err(Fault::Broken(words(&format!("it leads elsewhere from {place}"))));
    }
    Ok(reply)
}

async fn converse(outlet: &Outlet, place: &Place, question: Request<Full<Bytes>>) -> Result<Reply, Fault> {
    let stream = outlet.tcp()?.connect(place.address().into()).await.map_err(|error| silent(&error))?;
    let mut client = http1::Builder::new();
    client.max_buf_size(LONGEST_HEAD).max_headers(MOST_HEADERS);
    // Gateways' HTTP is often their own.
    client.title_case_headers(true);
    client
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let (mut sender, connection) =
        client.handshake(TokioIo::new(stream)).await.map_err(|error| of_hyper(&error))?;
    let exchange = async {
        let response = sender.send_request(question).await.map_err(|error| of_hyper(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST).collect().await.map_err(|error| of_body(error.as_ref()))?;
        Ok(Reply { status: head.status, body: body.to_bytes() })
    };
    let (mut exchange, connection) = (pin!(exchange), pin!(connection));
    select! {
        biased;
        reply = &mut exchange => reply,
        // What it has read before its end is still there.
        _ended = connection => exchange.await,
    }
}

fn of_body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Fault {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) => of_hyper(error),
        None if error.is::<LengthLimitError>() => Fault::Broken("its answer is too long".to_owned()),
        None => Fault::Broken(words(&error.to_string())),
    }
}

/// A network that fails is another fault than a gateway that does.
fn of_hyper(error: &hyper::Error) -> Fault {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) if unreachable(cause.kind()) => silent(cause),
        Some(cause) => Fault::Broken(words(&format!("{error}: {cause}"))),
        None => broken(error),
    }
}

fn unreachable(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}
