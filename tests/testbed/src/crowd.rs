//! A plane of the lab whose addresses are watched from outside.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use foghorn_lab::{
    Error, Host, Lab, Result,
    foghorn::namespace,
    topology::{Cable, Network},
    until,
};
use serde_json::{Value, json};

use crate::{
    Cluster, Plane, answers::Mac, backend::Backend, background::io, lease::Lease, observer::who_answers,
};

/// The address of the host that [`Crowd::serve`] uses.
const BACKEND: Ipv4Addr = Network::Private.address(200);
/// So many Services have somebody behind them.
const SERVED: usize = 12;
/// The port of the Services, and of what is behind them.
const PORT: u16 = 80;
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_PER_CLAIM: Duration = Duration::from_millis(400);

/// A plane on the public network, whose Services lead to a host outside the cluster: that a node is lost is not to take away what is
/// behind the address.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// The lab.
    pub lab: Lab,
    /// The plane's name; the Services' namespace has it too.
    pub name: String,
}

/// A claim that has an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The node that holds it.
    pub holder: String,
}

impl Crowd {
    /// The network of the plane.
    pub const NETWORK: Network = Network::Public;

    /// Makes a plane of that name, addresses for all by DHCP, and the client's way to them. The chart is there already.
    ///
    /// # Errors
    /// If something of it does not come about.
    pub fn make(lab: &Lab, name: &str) -> Result<Self> {
        lab.widen(Self::NETWORK)?;
        Self::make_with(lab, name, &json!({}))
    }

    /// [`make`](Self::make) with further fields of the plane's spec, on networks as they are.
    ///
    /// # Errors
    /// If something of it does not come about.
    pub fn make_with(lab: &Lab, name: &str, more: &Value) -> Result<Self> {
        let (cluster, plane) = (Cluster::new(lab.clone(), None), Plane::named(name, Self::NETWORK));
        let more = more.to_string();
        cluster.make_plane(plane, more.trim_start_matches('{').trim_end_matches('}'))?;
        lab.kubectl(&["create", "namespace", name])?;
        cluster.wait_ready(name)?;
        Ok(Self { lab: lab.clone(), name: name.to_owned() })
    }

    /// Removes what [`make`](Self::make) and [`scale`](Self::scale) have made; the DHCP server is as the lab has it.
    ///
    /// # Errors
    /// If something of it stays.
    pub fn remove(self) -> Result<()> {
        self.lab.kubectl(&["delete", "namespace", &self.name, "--timeout=120s"])?;
        self.lab.kubectl(&["delete", "networkplane", &self.name, "--timeout=120s"])?;
        self.lab.narrow(Self::NETWORK)
    }

    /// The host from which the addresses are watched.
    #[must_use]
    pub fn client(&self) -> Host {
        self.lab.client(Self::NETWORK)
    }

    /// Where a claim's Service is.
    #[must_use]
    pub fn target(&self, claim: &Claim) -> SocketAddr {
        SocketAddr::from((claim.address, PORT))
    }

    /// Starts what is behind the Services, on a host outside the cluster.
    ///
    /// # Errors
    /// If the host's namespace cannot be opened.
    pub fn serve(&self) -> Result<Backend> {
        Backend::start(&self.lab.client(Network::Private), PORT)
    }

    /// The namespace of announcers and claims.
    #[must_use]
    pub fn namespace(&self) -> String {
        namespace(&self.name)
    }

    /// The hardware address of a node on the plane's network.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn mac(&self, node: &str) -> Result<Mac> {
        let specs = self.lab.specs();
        let cables = specs.iter().filter(|spec| spec.name == node).flat_map(|spec| &spec.cables);
        let text = cables.filter(|cable| cable.network == Self::NETWORK).map(Cable::mac).next();
        let octets = text.iter().flat_map(|text| text.split(':'));
        let octets: Option<Vec<u8>> = octets.map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        let mac = octets.and_then(|octets| octets.try_into().ok());
        mac.ok_or_else(|| {
            Error::Config(format!("{node} has no hardware address on the {} network", Self::NETWORK.name()))
        })
    }

    /// Makes and removes Services until there are so many. Only the first of them have somebody behind them.
    ///
    /// # Errors
    /// If the API server refuses them.
    pub fn scale(&self, services: usize) -> Result<()> {
        let present = self.lab.kubectl(&["-n", &self.name, "get", "services", "-o", "name"])?.lines().count();
        if present < services {
            let file = self.lab.dir().join("services.yaml");
            let text: String = (present..services).map(|n| self.service(n)).collect();
            fs::write(&file, text).map_err(io(format!("writing {}", file.display())))?;
            self.lab.kubectl(&["create", "-f", &file.display().to_string()])?;
        } else if present > services {
            let names: Vec<_> = (services..present).map(service_name).collect();
            let mut delete = vec!["-n", &self.name, "delete", "services", "--timeout=600s"];
            delete.extend(names.iter().map(String::as_str));
            self.lab.kubectl(&delete)?;
        }
        Ok(())
    }

    fn service(&self, n: usize) -> String {
        let (name, namespace, backend) = (service_name(n), &self.name, BACKEND);
        let mut text = format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: LoadBalancer
  loadBalancerClass: foghorn.dev/{namespace}
  loadBalancerIP: 0.0.0.0
  allocateLoadBalancerNodePorts: false
  ports: [{{port: {PORT}}}]
"
        );
        if n < SERVED {
            // Writing to a string cannot fail.
            let _always = write!(
                text,
                "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {PORT}, protocol: TCP}}]
endpoints: [{{addresses: [{backend}], conditions: {{ready: true}}}}]
"
            );
        }
        text
    }

    /// The claims that have an address, sorted by name: those first that have somebody behind them.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn claims(&self) -> Result<Vec<Claim>> {
        let list = self.lab.kubectl_json(&["-n", &self.namespace(), "get", "addressclaims"])?;
        let items = list.get("items").and_then(Value::as_array);
        let mut claims: Vec<_> = items.into_iter().flatten().filter_map(claim).collect();
        claims.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(claims)
    }

    /// Those of the claims that have somebody behind them.
    #[must_use]
    pub fn served<'a>(&self, claims: &'a [Claim]) -> &'a [Claim] {
        claims.get(..SERVED).unwrap_or(claims)
    }

    /// The plane's Lease.
    ///
    /// # Errors
    /// If there is none.
    pub fn lease(&self) -> Result<Lease> {
        Lease::of(&self.lab, &self.name)
    }

    /// Sets how many announcements a node of the plane may send in a second.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn announce_at(&self, per_second: u32) -> Result<()> {
        let patch = json!({"spec": {"announce": {"maxPerSecond": per_second}}}).to_string();
        self.lab.kubectl(&["patch", "networkplane", &self.name, "--type=merge", "-p", &patch]).map(drop)
    }

    /// Waits until all announcers are ready and of the newest kind, there are so many claims, and of each its holder alone
    /// answers ARP.
    ///
    /// # Errors
    /// If it is not so in time: what is missing.
    pub fn whole(&self, claims: usize) -> Result<Vec<Claim>> {
        let patience = PATIENCE + PATIENCE_PER_CLAIM * u32::try_from(claims).unwrap_or(u32::MAX);
        let what = format!("plane {} with {claims} claims, each held by one", self.name);
        until(&what, patience, || {
            self.announcers_ready()?;
            let found = self.claims()?;
            if found.len() != claims {
                return Err(Error::Config(format!("{} claims have an address and a holder", found.len())));
            }
            self.held_by_one(&found)?;
            Ok(Some(found))
        })
    }

    /// Waits until no lease is still being confirmed with its server after a fail-over: each confirmation is a write of its own.
    ///
    /// # Errors
    /// If some still are after a long time.
    pub fn quiet(&self) -> Result<()> {
        until("no lease is being confirmed any more", PATIENCE, || {
            let list = self.lab.kubectl_json(&["-n", &self.namespace(), "get", "addressclaims"])?;
            let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
            let states = items.filter_map(|claim| claim.pointer("/status/state").and_then(Value::as_str));
            let confirming = states.filter(|state| *state == "Rebooting").count();
            if confirming > 0 {
                return Err(Error::Config(format!("{confirming} leases are still being confirmed")));
            }
            Ok(Some(()))
        })
    }

    /// Whether of each claim its holder alone answers ARP.
    ///
    /// # Errors
    /// Of which it is not so.
    pub fn held_by_one(&self, claims: &[Claim]) -> Result<()> {
        let addresses: Vec<_> = claims.iter().map(|claim| claim.address).collect();
        let answers = who_answers(&self.lab, Self::NETWORK, &addresses)?;
        for Claim { name, address, holder } in claims {
            let hosts = answers.get(address).cloned().unwrap_or_default();
            if !hosts.iter().eq([holder]) {
                return Err(Error::Config(format!("{holder} holds {name}, for {address} answer {hosts:?}")));
            }
        }
        Ok(())
    }

    /// Whether a connection to the address of each claim that has somebody behind it is complete within a second.
    ///
    /// # Errors
    /// Of which it is not.
    pub fn serves(&self, claims: &[Claim]) -> Result<()> {
        let targets: Vec<_> = self.served(claims).iter().map(|claim| self.target(claim)).collect();
        let connect = move || {
            targets.iter().try_for_each(|target| {
                let connected = TcpStream::connect_timeout(target, Duration::from_secs(1));
                connected.map(drop).map_err(io(format!("connecting to {target}")))
            })
        };
        let joined = self.client().inside(connect)?.join();
        joined.unwrap_or_else(|_| Err(Error::Config("the thread that connects panicked".to_owned())))?
    }

    fn announcers_ready(&self) -> Result<()> {
        let sets = self.lab.kubectl_json(&["-n", &self.namespace(), "get", "daemonsets"])?;
        let set = sets.pointer("/items/0").cloned().unwrap_or_default();
        let number = |at: &str| set.pointer(at).and_then(Value::as_u64).unwrap_or_default();
        let nodes = u64::from(self.lab.config().nodes);
        let counts =
            ["/status/numberReady", "/status/updatedNumberScheduled", "/status/numberAvailable"].map(number);
        if counts != [nodes; 3] || number("/status/observedGeneration") != number("/metadata/generation") {
            return Err(Error::Config(format!(
                "of {nodes} announcers are ready, new, available: {counts:?}"
            )));
        }
        Ok(())
    }
}

/// Of equal length, so that the order of names is that of numbers.
fn service_name(n: usize) -> String {
    format!("web-{n:04}")
}

fn claim(object: &Value) -> Option<Claim> {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str);
    Some(Claim {
        name: text("/metadata/name")?.to_owned(),
        address: text("/status/address")?.parse().ok()?,
        holder: text("/status/holder").filter(|holder| !holder.is_empty())?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_when_it_has_an_address_and_a_holder() {
        let object = |status: Value| json!({"metadata": {"name": "shop.web.ipv4"}, "status": status});
        let held = claim(&object(json!({"address": "192.0.2.7", "holder": "w1"}))).unwrap();
        assert_eq!((held.address, held.holder.as_str()), (Ipv4Addr::new(192, 0, 2, 7), "w1"));
        assert_eq!(claim(&object(json!({"address": "192.0.2.7", "holder": ""}))), None);
        assert_eq!(claim(&object(json!({"holder": "w1"}))), None);
    }
}
