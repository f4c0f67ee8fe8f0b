//! Reading objects from the API server without starting a kubectl for each question.
//!
//! One `kubectl proxy` per lab listens on a Unix socket in the lab's directory. Tests ask many times a second while they
//! wait for something; a kubectl for each question would keep a core busy.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{Read as _, Write as _},
    mem::take,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    daemon::Daemon,
    error::{Error, Result},
    foghorn::namespace,
    host::Host,
    lab::Lab,
    topology::CONTROL_PLANE,
};

/// As kubectl's own.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the proxy on the control plane's host.
pub(crate) fn start_proxy(lab: &Lab) -> Result<()> {
    let host = lab.named(CONTROL_PLANE);
    Daemon::new(&host, "kubectl-proxy").start(&[
        lab.programs().kube("kubectl"),
        "proxy".to_owned(),
        format!("--kubeconfig={}", lab.kubeconfig().display()),
        format!("--unix-socket={}", socket(&host).display()),
    ])
}

fn socket(host: &Host) -> PathBuf {
    host.dir().join("api.sock")
}

/// What `kubectl get` with these arguments asks for, if it is a plain question for one kind.
pub(crate) fn path(args: &[&str]) -> Option<String> {
    let (mut namespace, mut all, mut selector) = ("default", false, None);
    let mut words = Vec::new();
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        match arg {
            "-n" => namespace = args.next()?,
            "-A" => all = true,
            "-l" => selector = Some(args.next()?),
            option if option.starts_with('-') => return None,
            word => words.push(word),
        }
    }
    let (kind, name) = match *words {
        ["get", kind] => (kind, None),
        ["get", kind, name] => (kind, Some(name)),
        _ => return None,
    };
    let (group, plural, namespaced) = resource(kind)?;
    let mut path = group.to_owned();
    // Writing to a string cannot fail.
    if namespaced && !all {
        let _always = write!(path, "/namespaces/{namespace}");
    }
    let _always = write!(path, "/{plural}");
    if let Some(name) = name {
        let _always = write!(path, "/{name}");
    }
    if let Some(selector) = selector {
        let _always = write!(path, "?labelSelector={}", selector.replace('=', "%3D").replace(',', "%2C"));
    }
    Some(path)
}

/// Where a kind is found: its group's path, its plural, and whether it has a namespace.
type Resource = (&'static str, &'static str, bool);

const FOGHORN: &str = "/apis/foghorn.dev/v1alpha1";

fn resource(kind: &str) -> Option<Resource> {
    Some(match kind {
        "addressclaims" => (FOGHORN, "addressclaims", true),
        "networkplane" | "networkplanes" => (FOGHORN, "networkplanes", false),
        "daemonset" | "daemonsets" => ("/apis/apps/v1", "daemonsets", true),
        "deployment" | "deployments" => ("/apis/apps/v1", "deployments", true),
        "events.events.k8s.io" => ("/apis/events.k8s.io/v1", "events", true),
        "lease" | "leases" => ("/apis/coordination.k8s.io/v1", "leases", true),
        "namespaces" => ("/api/v1", "namespaces", false),
        "nodes" => ("/api/v1", "nodes", false),
        "pods" | "pod" => ("/api/v1", "pods", true),
        "service" | "services" => ("/api/v1", "services", true),
        _ => return None,
    })
}

impl Lab {
    /// Reads a path of the API, e.g. `/api/v1/nodes`, as the administrator.
    ///
    /// # Errors
    /// [`Error::Api`] with what the API server answers, [`Error::Io`] if the lab's proxy does not answer.
    pub fn read_api(&self, path: &str) -> Result<Value> {
        let host = self.named(CONTROL_PLANE);
        let io = || Error::io(format!("reading {path} from the API server"));
        let mut stream = UnixStream::connect(socket(&host)).map_err(io())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(io())?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())
            .map_err(io())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(io())?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        if status != "200" {
            let (path, answer) = (path.to_owned(), body.trim().to_owned());
            return Err(Error::Api { path, status: status.to_owned(), answer });
        }
        serde_json::from_str(body).map_err(|error| Error::Malformed {
            what: format!("the answer to {path}"),
            why: error.to_string(),
        })
    }
}

/// Lists of the whole cluster.
impl Lab {
    /// All objects of a kind, e.g. `addressclaims`; `None` if the cluster has no such kind.
    ///
    /// # Errors
    /// As [`read_api`](Self::read_api), or [`Error::Config`] if this tool does not know the kind.
    pub fn list(&self, kind: &str) -> Result<Option<Vec<Value>>> {
        let path = path(&["get", kind, "-A"])
            .ok_or_else(|| Error::Config(format!("{kind} is not a kind whose path in the API is known")))?;
        match self.read_api(&path) {
            Err(Error::Api { status, .. }) if status == "404" => Ok(None),
            list => {
                Ok(Some(list?.get_mut("items").and_then(Value::as_array_mut).map(take).unwrap_or_default()))
            }
        }
    }

    /// All namespaces but those that are about to end, with the time at which they were made.
    ///
    /// # Errors
    /// As [`read_api`](Self::read_api).
    pub fn namespaces(&self) -> Result<Vec<(String, Timestamp)>> {
        let list = self.list("namespaces")?.unwrap_or_default();
        let made = |object: &Value| {
            let made: Timestamp = text(object, "/metadata/creationTimestamp")?.parse().ok()?;
            Some((text(object, "/metadata/name")?, made))
        };
        let lives = |object: &&Value| object.pointer("/metadata/deletionTimestamp").is_none();
        Ok(list.iter().filter(lives).filter_map(made).collect())
    }

    /// The names of all planes; none without Foghorn's definitions.
    ///
    /// # Errors
    /// As [`read_api`](Self::read_api).
    pub fn plane_names(&self) -> Result<BTreeSet<String>> {
        let planes = self.list("networkplanes")?.unwrap_or_default();
        Ok(planes.iter().filter_map(|plane| text(plane, "/metadata/name")).collect())
    }

    /// The names of the namespaces of all planes.
    ///
    /// # Errors
    /// As [`read_api`](Self::read_api).
    pub fn plane_namespaces(&self) -> Result<Vec<String>> {
        Ok(self.plane_names()?.iter().map(|plane| namespace(plane)).collect())
    }
}

fn text(object: &Value, at: &str) -> Option<String> {
    object.pointer(at).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_question_has_a_path() {
        let of = |line: &str| path(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(of("get nodes"), "/api/v1/nodes");
        assert_eq!(of("get networkplane shop"), "/apis/foghorn.dev/v1alpha1/networkplanes/shop");
        assert_eq!(of("-n shop get service web"), "/api/v1/namespaces/shop/services/web");
        assert_eq!(of("get addressclaims -A"), "/apis/foghorn.dev/v1alpha1/addressclaims");
        let pods = "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb%2Ctier%3Dtop";
        assert_eq!(of("get pods -l app=web,tier=top"), pods);
    }

    #[test]
    fn other_questions_are_left_to_kubectl() {
        for line in ["get nodes,pods", "get nodes --watch", "get nodes w1 w2", "delete service web"] {
            assert_eq!(path(&line.split(' ').collect::<Vec<_>>()), None, "{line}");
        }
    }
}
