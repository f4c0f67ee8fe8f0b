//! Asking a gateway.

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddrV4, time::Duration};

use foghorn_portmap::{Answer, Ask, Fault, Port, Protocol, Request};
use tokio::time::timeout;

use crate::{
    description::Service, find::find, igd, natpmp, outlet::Outlet, pcp, ports::Ports, provider::Bound,
};

/// How long finding a gateway may take.
const FINDING: Duration = Duration::from_secs(6);
/// How long any other question may take.
const ASKING: Duration = Duration::from_secs(4);
/// How long to wait for what a gateway has made of a mapping without an end.
const LOOKING: Duration = Duration::from_secs(1);
/// Gateways that are remembered. There is one at a time.
const MOST_GATEWAYS: usize = 8;

/// One gateway, spoken to from addresses of Services.
#[derive(Debug)]
pub struct Speaker {
    interface: Option<String>,
    ports: Ports,
    /// What was found by UPnP, by the gateways' addresses.
    found: BTreeMap<Ipv4Addr, Service>,
}

impl Speaker {
    /// One that speaks out of this interface and no other.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self::with(Some(interface), Ports::default())
    }

    /// One with other ports, and perhaps without an interface: then the routes decide.
    #[must_use]
    pub fn with(interface: Option<&str>, ports: Ports) -> Self {
        Self { interface: interface.map(str::to_owned), ports, found: BTreeMap::new() }
    }

    /// Asks once. It ends in 6 seconds if it is [`Ask::Find`], otherwise in 4. If it is given up before, it may have been asked all
    /// the same.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, Fault> {
        let within = if request.ask == Ask::Find { FINDING } else { ASKING };
        let late = |_| Err(Fault::Silent(format!("no answer by {} in {within:?}", request.protocol)));
        timeout(within, self.ask_by_protocol(request)).await.unwrap_or_else(late)
    }

    async fn ask_by_protocol(&mut self, request: &Request) -> Result<Answer, Fault> {
        let outlet = Outlet { interface: self.interface.clone(), source: request.source };
        let server = SocketAddrV4::new(request.gateway, self.ports.server);
        match (request.protocol, &request.ask) {
            (Protocol::Igd, Ask::Find) => self.find(&outlet, request.gateway).await,
            (Protocol::Igd, ask) => match self.found.get(&request.gateway) {
                Some(service) => {
                    let answer = ask_service(service, request.source, ask);
                    Bound::with(&outlet, &service.control, answer).await
                }
                None => Err(Fault::Silent("it was not found by UPnP yet".to_owned())),
            },
            (Protocol::Pcp, _) => pcp::ask(&outlet, server, request).await,
            (Protocol::NatPmp, _) => natpmp::ask(&outlet, server, request).await,
        }
    }

    /// What was found before is of no use once the gateway is searched again.
    async fn find(&mut self, outlet: &Outlet, gateway: Ipv4Addr) -> Result<Answer, Fault> {
        self.found.remove(&gateway);
        let (service, answer) = find(outlet, gateway, self.ports.ssdp).await?;
        if self.found.len() >= MOST_GATEWAYS {
            self.found.clear();
        }
        self.found.insert(gateway, service);
        Ok(answer)
    }
}

/// What is to be without an end is looked at once it is there: not all gateways have such mappings, and none says so.
async fn ask_service(service: &Service, source: Ipv4Addr, ask: &Ask) -> Result<Answer, Fault> {
    let answer = igd::ask(service, Bound, source, ask).await?;
    if let (Answer::Mapped { external, lease: None, outer, epoch }, Ask::Map(mapping)) = (&answer, ask) {
        let port = Port { number: *external, ..mapping.port };
        let lease = timeout(LOOKING, igd::granted(service, Bound, port)).await.ok().flatten();
        return Ok(Answer::Mapped { external: *external, lease, outer: *outer, epoch: *epoch });
    }
    Ok(answer)
}
