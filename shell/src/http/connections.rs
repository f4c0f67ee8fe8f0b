//! The connections of one listener, with limits: what strangers open and hold costs little memory and few descriptors,
//! and keeps no other client out.

use std::{collections::VecDeque, io, net::TcpListener, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::debug;

/// Connections of one listener at a time. A further one closes the oldest, which had its time if it meant to ask.
pub const MOST_CONNECTIONS: usize = 32;
/// Within which a request's header is to arrive.
pub const HEADER_TIME: Duration = Duration::from_secs(5);
/// For a connection in all: it carries one request and one response.
pub const WHOLE_TIME: Duration = Duration::from_secs(10);
/// The longest header of a request, in bytes.
const HEADER_LENGTH: usize = 16 * 1024;
/// After a connection that could not be accepted: there may be no descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the connections of the listener, which does not block.
pub(super) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .max_buf_size(HEADER_LENGTH);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "a connection cannot be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        let limited = async move {
            match timeout(WHOLE_TIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a connection failed"),
                Err(_) => debug!("a connection took too long"),
            }
        };
        open.push_back(tokio::spawn(limited).abort_handle());
    }
}
