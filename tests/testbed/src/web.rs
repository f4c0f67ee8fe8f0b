//! The web servers behind the Services of most tests: one Pod on each node, for as long as the lab is up.

use foghorn_lab::{Result, until};
use serde_json::Value;

use crate::{Cluster, PATIENCE};

/// The namespace of the web servers.
pub(crate) const NAMESPACE: &str = "web";

const SERVERS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: web}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{operator: Exists}]
      containers:
      - name: web
        image: localhost/web:1
        imagePullPolicy: Never
        env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
";

impl Cluster {
    /// The endpoints of an EndpointSlice that leads to the web server of each node. Starts the servers if they are not
    /// there.
    pub(crate) fn web_endpoints(&self) -> Result<String> {
        if self.lab.kubectl_json(&["-n", NAMESPACE, "get", "daemonset", "web"]).is_err() {
            self.lab.apply(SERVERS)?;
        }
        let nodes = usize::from(self.lab.config().nodes);
        until("a web server on each node", PATIENCE, || {
            let pods = self.lab.kubectl_json(&["-n", NAMESPACE, "get", "pods", "-l", "app=web"])?;
            let endpoints: Vec<_> =
                pods["items"].as_array().into_iter().flatten().filter_map(endpoint).collect();
            Ok((endpoints.len() == nodes).then(|| endpoints.concat()))
        })
    }
}

/// The Pod as an endpoint, once it has an address.
fn endpoint(pod: &Value) -> Option<String> {
    let (node, address) = (pod["spec"]["nodeName"].as_str()?, pod["status"]["podIP"].as_str()?);
    let running = pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let conditions = "conditions: {ready: true, serving: true}";
    running.then(|| format!("- {{addresses: ['{address}'], nodeName: {node}, {conditions}}}\n"))
}
