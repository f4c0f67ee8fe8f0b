//! The lab with Foghorn in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    thread::sleep,
    time::Duration,
};

use foghorn_lab::{DhcpConfig, Error, IMAGE_VALUES, Lab, Result, topology::Network, until};
use serde_json::Value;

use crate::{Lane, Mark, PATIENCE, PRIVATE, PUBLIC, Plane, Service, observer::who_answers, web::NAMESPACE};

/// The chart's folder.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../helm/foghorn");
/// Marks the namespaces that tests make; its value is the namespace's lane.
const LABEL: &str = "foghorn-e2e";
/// The value outside of lanes.
const ALONE: &str = "alone";
const SYSTEM: &str = "foghorn-system";

/// Longer than a new address is published before a node answers for it.
const NEW: Duration = Duration::from_secs(2);

/// The lab with Foghorn in it.
pub struct Cluster {
    /// The lab.
    pub lab: Lab,
    pub(crate) lane: Option<Lane>,
}

impl Cluster {
    pub(crate) fn new(lab: Lab, lane: Option<Lane>) -> Self {
        Self { lab, lane }
    }

    /// Removes what an earlier test left, and heals what it broke.
    pub(crate) fn make_ready(&self) -> Result<()> {
        if let Some(lane) = &self.lane {
            self.remove_namespaces()?;
            return self.begin_in(lane);
        }
        // Nothing is cleaned without an operator.
        self.heal()?;
        self.install()?;
        self.clean()
    }

    /// Fails if the test left a namespace behind that has not the tests' own mark. In a shared lab it cannot be known which
    /// test made it: there the labs' whole state is checked in the end.
    pub(crate) fn check_left(&self, before: &BTreeSet<String>) -> Result<()> {
        if self.lane.is_some() {
            return Ok(());
        }
        let planes = self.lab.plane_namespaces()?;
        let mut left = self.namespace_names()?;
        left.retain(|name| !before.contains(name) && !planes.contains(name) && name != NAMESPACE);
        for name in &left {
            self.lab.kubectl(&["delete", "namespace", name, "--wait=false"])?;
        }
        if left.is_empty() { Ok(()) } else { Err(failed(format!("the test left the namespaces {left:?}"))) }
    }

    pub(crate) fn namespace_names(&self) -> Result<BTreeSet<String>> {
        Ok(self.lab.namespaces()?.into_iter().map(|(name, _)| name).collect())
    }

    /// The test ended well and is cleaned up after.
    pub(crate) fn end_turn(&self) -> Result<()> {
        self.lane.as_ref().map_or(Ok(()), |lane| self.end_in(lane))
    }

    /// Installs the chart with two planes, unless that is the present state, and waits until both planes are ready. Planes
    /// that a test left are removed.
    ///
    /// # Errors
    /// What Helm or a plane says.
    pub fn install(&self) -> Result<()> {
        let present = self.lab.plane_names()?;
        let wanted = BTreeSet::from([PUBLIC.name, PRIVATE.name].map(str::to_owned));
        if !present.is_superset(&wanted) || !self.operator_runs() {
            self.upgrade(&format!("{CHART}/examples/two-planes.yaml"), &[])?;
        }
        for other in present.difference(&wanted) {
            self.lab.kubectl(&["delete", "networkplane", other, "--ignore-not-found", "--timeout=90s"])?;
        }
        [PUBLIC, PRIVATE].iter().try_for_each(|plane| self.wait_ready(plane.name))
    }

    /// Whether there is the one operator that the chart makes by default, and it is ready.
    fn operator_runs(&self) -> bool {
        let operator = self.lab.kubectl_json(&["-n", SYSTEM, "get", "deployment", "foghorn-operator"]);
        operator.is_ok_and(|it| it["spec"]["replicas"] == 1 && it["status"]["readyReplicas"] == 1)
    }

    /// `helm upgrade --install` with a file of values and more of them.
    ///
    /// # Errors
    /// What Helm says.
    pub fn upgrade(&self, values: &str, more: &[&str]) -> Result<String> {
        self.helm_upgrade(CHART, values, more)
    }

    /// [`upgrade`](Self::upgrade) with another chart.
    ///
    /// # Errors
    /// What Helm says.
    pub fn helm_upgrade(&self, chart: &str, values: &str, more: &[&str]) -> Result<String> {
        let mut args = vec!["upgrade", "--install", "foghorn", chart, "-n", SYSTEM, "--create-namespace"];
        args.extend(["--wait", "--timeout", "60s", "-f", values]);
        IMAGE_VALUES.iter().chain(more).for_each(|value| args.extend(["--set", value]));
        self.lab.helm(&args)
    }

    /// Makes a namespace of the test and gives its name, which is not the given one in a shared lab.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn namespace(&self, name: &str) -> Result<String> {
        let (name, lane) = (self.name(name), self.label());
        self.lab.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{LABEL}: {lane}}}}}\n"
        ))?;
        Ok(name)
    }

    /// [`namespace`](Self::namespace) with a Deployment `web` of one Pod on each node, for tests that change what is behind
    /// a Service; see [`Service::selecting`].
    ///
    /// # Errors
    /// If its Pods do not get ready.
    pub fn namespace_with_pods(&self, name: &str) -> Result<String> {
        let (namespace, nodes) = (self.namespace(name)?, self.lab.config().nodes);
        self.lab.apply(&format!(
            r"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: {nodes}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}
      containers:
      - name: web
        image: localhost/web:1
        imagePullPolicy: Never
        env:
        - {{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
"
        ))?;
        let rollout = ["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=60s"];
        self.lab.kubectl(&rollout)?;
        Ok(namespace)
    }

    /// A Service in front of the lab's web servers, with an address by DHCP on a plane.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn service(&self, namespace: &str, name: &str, plane: Plane) -> Result<Service<'_>> {
        let service = self.existing(namespace, name, plane);
        service.apply(Some(plane.class))?;
        Ok(service)
    }

    /// A Service that a test has made in its own way.
    #[must_use]
    pub fn existing(&self, namespace: &str, name: &str, plane: Plane) -> Service<'_> {
        Service::new(self, namespace, name, plane)
    }

    /// The nodes that answer ARP for an address, asked by the client of its network. Where none answers it is asked once
    /// more: for a new address one answers two seconds after the publication at the latest.
    ///
    /// # Errors
    /// If the client cannot ask.
    pub fn who_has(&self, network: Network, address: Ipv4Addr) -> Result<BTreeSet<String>> {
        let ask = || Ok(who_answers(&self.lab, network, &[address])?.remove(&address).unwrap_or_default());
        let answers: BTreeSet<_> = ask()?;
        if !answers.is_empty() {
            return Ok(answers);
        }
        sleep(NEW);
        ask()
    }

    /// The nodes that have an address on one of their interfaces, each with what `ip -json address` says of it there.
    ///
    /// # Errors
    /// If a node cannot be asked.
    pub fn on_interfaces(&self, address: Ipv4Addr) -> Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        for node in self.lab.nodes() {
            let said = node.exec(&["ip", "-json", "-4", "address", "show"])?;
            let links: Vec<Value> =
                serde_json::from_str(&said).map_err(|error| failed(format!("{said}: {error}")))?;
            let entries = links.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
            let entry = entries.into_iter().find(|entry| entry["local"] == address.to_string());
            found.extend(entry.map(|entry| (node.name().to_owned(), entry.clone())));
        }
        Ok(found)
    }

    /// What `http://<address>/` answers to the client of a network. An address is in the status before kube-proxy has
    /// brought it to every node, so it is asked again for a while, each time by a new connection.
    ///
    /// # Errors
    /// What curl says at last.
    pub fn get(&self, network: Network, address: Ipv4Addr) -> Result<String> {
        let url = format!("http://{address}/");
        let client = self.lab.client(network);
        until(&format!("an answer from {url}"), PATIENCE, || {
            client.exec(&["curl", "-sS", "--max-time", "1", &url]).map(Some)
        })
    }

    /// The events about a Service, as `reason: note`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn events(&self, namespace: &str, service: &str) -> Result<Vec<String>> {
        let events = self.lab.kubectl_json(&["-n", namespace, "get", "events.events.k8s.io"])?;
        let of_service =
            |event: &&Value| event["regarding"]["name"] == service && event["regarding"]["kind"] == "Service";
        let text = |event: &Value| {
            let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", part("reason"), part("note"))
        };
        Ok(events["items"].as_array().into_iter().flatten().filter(of_service).map(text).collect())
    }

    /// Heals what a test broke.
    ///
    /// # Errors
    /// If something does not come back.
    pub fn heal(&self) -> Result<()> {
        if self.lab.status().is_ok_and(|_| self.lab.kubectl(&["get", "--raw", "/readyz"]).is_err()) {
            self.lab.start_api()?;
        }
        for node in self.lab.nodes() {
            self.lab.power_on(node.name())?;
            self.lab.mend_api(node.name())?;
            self.lab.mend_udp(node.name())?;
            self.lab.mend_ethertype(node.name())?;
            for plane in [PUBLIC, PRIVATE] {
                let _none_there = self.lab.resume_announcer(plane.name, node.name());
            }
        }
        Mark::ALL.into_iter().try_for_each(|mark| self.unmark_all(mark))?;
        // The private one forwards from the start.
        self.lab.gateway(Network::Public).forward_none()?;
        for network in Network::OF_NODES {
            let server = self.lab.dhcp(network);
            let usual = DhcpConfig::of(network);
            if !server.has(&usual) || !server.is_running() {
                server.configure(&usual)?;
            }
        }
        Ok(())
    }

    /// Removes what a test left, and heals what it broke where it has the lab to itself; waits until no claim of the test
    /// is left.
    ///
    /// # Errors
    /// If something is stuck.
    pub fn clean(&self) -> Result<()> {
        if let Some(lane) = &self.lane {
            self.remove_namespaces()?;
            return self.clean_in(lane);
        }
        self.heal()?;
        self.remove_namespaces()?;
        until("no claim of a test is left", PATIENCE, || {
            // Without the chart there is no such kind.
            let claims = self.lab.list("addressclaims")?.unwrap_or_default();
            Ok(claims.is_empty().then_some(()))
        })
    }

    /// Removes the namespaces of the test, or of all tests where it has the lab to itself.
    fn remove_namespaces(&self) -> Result<()> {
        let selector =
            self.lane.as_ref().map_or_else(|| LABEL.to_owned(), |_| format!("{LABEL}={}", self.label()));
        let left = || {
            let left = self.lab.kubectl_json(&["get", "namespaces", "-l", &selector])?;
            Ok::<_, Error>(left["items"].as_array().is_some_and(|left| !left.is_empty()))
        };
        if left()? {
            self.lab.kubectl(&["delete", "namespaces", "-l", &selector, "--wait=false"])?;
        }
        until("no namespace of a test is left", PATIENCE, || Ok((!left()?).then_some(())))
    }

    fn label(&self) -> String {
        self.lane.as_ref().map_or_else(|| ALONE.to_owned(), |_| self.name("in"))
    }

    /// Prints what the programs say that have to do with a test that failed.
    pub fn tell_logs(&self) {
        self.show(&["get", "pods", "-A", "-o", "wide"]);
        self.show(&["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"]);
        self.show(&["-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=foghorn", "--tail=60"]);
        // In a shared lab the planes of other lanes have nothing to do with it.
        let is_own = |name: &String| self.lane.as_ref().is_none_or(|lane| lane.has(name));
        for name in self.lab.plane_names().unwrap_or_default().into_iter().filter(is_own) {
            let plane = Plane::named(&name, Network::Public);
            for (_, pod) in self.announcers(plane).unwrap_or_default() {
                self.show(&["-n", &plane.namespace(), "logs", &pod, "--tail=30"]);
            }
        }
        for network in Network::OF_NODES {
            println!(
                "--- the DHCP server of the {} network\n{}",
                network.name(),
                self.lab.dhcp(network).log(40)
            );
        }
    }

    /// Prints how planes, claims and Services stand when a test has failed, each in a line.
    pub fn tell_state(&self) {
        self.show(&["get", "networkplanes,addressclaims,services", "-A", "-o", "wide"]);
        for kind in ["networkplanes", "addressclaims", "services"] {
            let each = "jsonpath={range .items[*]}{.metadata.name} {.metadata.creationTimestamp} {.status}{\"\\n\"}{end}";
            self.show(&["get", kind, "-A", "-o", each]);
        }
    }

    fn show(&self, args: &[&str]) {
        let said = self.lab.kubectl(args).unwrap_or_else(|error| error.to_string());
        println!("--- kubectl {}\n{said}", args.join(" "));
    }
}

/// The condition of that type in an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// An error of a test's own.
pub(crate) fn failed(what: impl Into<String>) -> Error {
    Error::Config(what.into())
}
