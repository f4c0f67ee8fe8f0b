//! How igd-next's questions get to the gateway.

use foghorn_portmap::Fault;
use igd_next::{RequestError, aio::Provider};

use crate::{
    fault::{broken, words},
    http,
    outlet::Outlet,
    place::Place,
    soap::{self, Failure},
};

tokio::task_local! {
    /// Where the question that is being asked goes out, and where it goes; igd-next's provider has no self to keep it in.
    static WAY: (Outlet, Place);
}

/// Asks out of an [`Outlet`], the gateway and nobody else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound;

impl Bound {
    /// Does what asks by this provider; it all comes out of this outlet, and goes there.
    pub(crate) async fn with<T>(outlet: &Outlet, to: &Place, asking: impl Future<Output = T>) -> T {
        WAY.scope((outlet.clone(), to.clone()), asking).await
    }
}

impl Provider for Bound {
    // The URL is the one that igd-next makes of the service's place.
    async fn send_async(_url: &str, action: &str, body: &str) -> Result<String, RequestError> {
        let no_way = |_| Failure::error(Fault::Broken("nobody said where to ask".to_owned()));
        let (outlet, to) = WAY.try_with(Clone::clone).map_err(no_way)?;
        let reply = http::post(&outlet, &to, action, body).await.map_err(Failure::error)?;
        let status = reply.status;
        match soap::reply(&reply.body) {
            // A fault comes with 500, and with whatever else gateways think of.
            Err(error @ RequestError::ErrorCode(..)) => Err(error),
            _ if !status.is_success() => {
                let fault = Fault::Broken(words(&format!("HTTP {} from {to}", status.as_u16())));
                Err(Failure::error(fault))
            }
            Err(error) => Err(Failure::error(broken(&error))),
            Ok(text) => Ok(text),
        }
    }
}
