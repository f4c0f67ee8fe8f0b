//! One Service under test.

use std::net::Ipv4Addr;

use foghorn_lab::{Lease, Result, until};
use serde_json::Value;

use crate::{Cluster, PATIENCE, Plane, cluster::condition};

/// A Service of type LoadBalancer, and its claim.
#[derive(Clone)]
pub struct Service<'a> {
    cluster: &'a Cluster,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its plane.
    pub plane: Plane,
}

impl<'a> Service<'a> {
    pub(crate) fn new(cluster: &'a Cluster, namespace: &str, name: &str, plane: Plane) -> Self {
        Self { cluster, namespace: namespace.to_owned(), name: name.to_owned(), plane }
    }

    /// Another Service of the same kind, which is not made by this.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self.clone() }
    }

    /// The Service as YAML, of that class or of none, in front of the namespace's own web Pods.
    #[must_use]
    pub fn selecting(&self, class: Option<&str>) -> String {
        self.yaml(class, "\n  selector: {app: web}")
    }

    /// The Service as YAML, of that class or of none, with what leads to the lab's web servers.
    ///
    /// # Errors
    /// If there are no web servers.
    pub fn manifest(&self, class: Option<&str>) -> Result<String> {
        let Self { namespace, name, .. } = self;
        let slice = format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080, protocol: TCP}}]
endpoints:
{}---
",
            self.cluster.web_endpoints()?
        );
        Ok(self.yaml(class, "") + &slice)
    }

    fn yaml(&self, class: Option<&str>, selector: &str) -> String {
        let class = class.map(|class| format!("\n  loadBalancerClass: {class}")).unwrap_or_default();
        format!(
            r"
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  type: LoadBalancer{class}
  loadBalancerIP: 0.0.0.0{selector}
  ports: [{{port: 80, targetPort: 8080}}]
---
",
            name = self.name,
            namespace = self.namespace
        )
    }

    /// Makes it, of that class or of none.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn apply(&self, class: Option<&str>) -> Result<()> {
        self.cluster.lab.apply(&self.manifest(class)?).map(drop)
    }

    /// Makes it in front of the namespace's own web Pods.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn apply_selecting(&self) -> Result<()> {
        self.cluster.lab.apply(&self.selecting(Some(self.plane.class))).map(drop)
    }

    /// The Service as the API server has it.
    ///
    /// # Errors
    /// If there is none.
    pub fn object(&self) -> Result<Value> {
        self.cluster.lab.kubectl_json(&["-n", &self.namespace, "get", "service", &self.name])
    }

    /// The name of its claim.
    #[must_use]
    pub fn claim_name(&self) -> String {
        format!("{}.{}.ipv4", self.namespace, self.name)
    }

    /// Its claim; `None` if there is none.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn claim(&self) -> Result<Option<Value>> {
        let claims =
            self.cluster.lab.kubectl_json(&["-n", &self.plane.namespace(), "get", "addressclaims"])?;
        let claims = claims["items"].as_array().cloned().unwrap_or_default();
        Ok(claims.into_iter().find(|claim| claim["metadata"]["name"] == self.claim_name().as_str()))
    }

    /// Waits for its address in `status.loadBalancer`.
    ///
    /// # Errors
    /// If there is none within half a minute.
    pub fn address(&self) -> Result<Ipv4Addr> {
        until(&format!("an address of Service {}/{}", self.namespace, self.name), PATIENCE, || {
            Ok(ingress(&self.object()?))
        })
    }

    /// Waits until the Service's condition has that reason, and gives its message.
    ///
    /// # Errors
    /// If it has not within a minute.
    pub fn reason(&self, reason: &str) -> Result<String> {
        let what = format!("reason {reason} on Service {}/{}", self.namespace, self.name);
        until(&what, PATIENCE, || {
            let service = self.object()?;
            let found = condition(&service, "foghorn.dev/AddressReady").filter(|c| c["reason"] == reason);
            Ok(found.map(|c| c["message"].as_str().unwrap_or_default().to_owned()))
        })
    }

    /// Waits until a node holds its claim, and gives the node's name.
    ///
    /// # Errors
    /// If none does within half a minute.
    pub fn holder(&self) -> Result<String> {
        until(&format!("a holder of claim {}", self.claim_name()), PATIENCE, || {
            let claim = self.claim()?.unwrap_or_default();
            Ok(claim["status"]["holder"].as_str().map(str::to_owned))
        })
    }

    /// Waits until the claim is held by another node than that one.
    ///
    /// # Errors
    /// If it is not within a minute.
    pub fn held_by_another(&self, node: &str) -> Result<String> {
        until(&format!("another holder than {node}"), PATIENCE, || {
            let claim = self.claim()?.unwrap_or_default();
            let holder = claim["status"]["holder"].as_str().unwrap_or_default().to_owned();
            let held = claim["status"]["address"].is_string();
            Ok((held && !holder.is_empty() && holder != node).then_some(holder))
        })
    }

    /// The leases that the network's DHCP server has for its claim's hardware address.
    ///
    /// # Errors
    /// If the server's file cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        let claim = self.claim()?.unwrap_or_default();
        let mac = claim["status"]["identity"]["hardwareAddress"].as_str().unwrap_or_default().to_owned();
        let leases = self.cluster.lab.dhcp(self.plane.network).leases()?;
        Ok(leases.into_iter().filter(|lease| lease.mac == mac).collect())
    }

    /// Asks for its deletion and does not wait.
    ///
    /// # Errors
    /// If there is none.
    pub fn delete(&self) -> Result<()> {
        let args = ["-n", &self.namespace, "delete", "service", &self.name, "--wait=false"];
        self.cluster.lab.kubectl(&args).map(|_| ())
    }

    /// Deletes it and strips its finalizers, as a controller does that takes them all for its own.
    ///
    /// # Errors
    /// If it is not gone within ten seconds.
    pub fn delete_at_once(&self) -> Result<()> {
        self.delete()?;
        until("the Service is gone", PATIENCE, || {
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            let args = ["-n", &self.namespace, "patch", "service", &self.name, "--type=merge", "-p", patch];
            Ok(self.cluster.lab.kubectl(&args).is_err().then_some(()))
        })
    }

    /// Waits until Service and claim are gone.
    ///
    /// # Errors
    /// If they are not within a minute.
    pub fn gone(&self) -> Result<()> {
        until(&format!("Service {}/{} and its claim are gone", self.namespace, self.name), PATIENCE, || {
            Ok((self.object().is_err() && self.claim()?.is_none()).then_some(()))
        })
    }
}

/// The one address in a Service's status.
fn ingress(service: &Value) -> Option<Ipv4Addr> {
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str()?.parse().ok()
}
