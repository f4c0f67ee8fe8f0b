//! An API server with one Lease, behind links that can be cut.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Response},
};
use futures::{StreamExt, channel::mpsc};
use kube::Client;
use serde_json::{Value, json};
use tower::service_fn;

#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    watchers: Vec<mpsc::UnboundedSender<String>>,
}

/// One client's way to the server.
#[derive(Clone)]
pub(crate) struct Link {
    api: Api,
    cut: Arc<AtomicBool>,
    forbidden: Arc<AtomicBool>,
}

impl Api {
    pub(crate) fn link(&self) -> Link {
        Link { api: self.clone(), cut: Arc::default(), forbidden: Arc::default() }
    }

    pub(crate) fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().expect("there is a lease")
    }

    /// Waits until two clients watch.
    pub(crate) async fn watched(&self) {
        while self.0.lock().unwrap().watchers.len() < 2 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut state = self.0.lock().unwrap();
        let mut lease = state.lease.clone().expect("there is a lease");
        edit(&mut lease);
        state.store(lease, "MODIFIED");
    }

    fn answer(&self, method: &Method, uri: &str, body: &[u8]) -> Response<Body> {
        let mut state = self.0.lock().unwrap();
        let written: Option<Value> = serde_json::from_slice(body).ok();
        match (method.as_str(), state.lease.clone(), written) {
            ("GET", _, _) if uri.contains("watch=") => {
                let (send, receive) = mpsc::unbounded();
                state.watchers.push(send);
                Response::new(Body::from_stream(receive.map(Ok::<_, Infallible>)))
            }
            ("GET", lease, _) if uri.contains("fieldSelector=") => {
                let version = state.version.to_string();
                let items: Vec<_> = lease.into_iter().collect();
                let list = json!({ "kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1",
                    "metadata": { "resourceVersion": version }, "items": items });
                respond(200, &list)
            }
            ("GET", Some(lease), _) => respond(200, &lease),
            ("GET", None, _) => refuse(404, "NotFound"),
            ("POST", None, Some(mut lease)) => {
                lease["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
                respond(201, &state.store(lease, "ADDED"))
            }
            ("PUT", Some(old), Some(new))
                if old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"] =>
            {
                respond(200, &state.store(new, "MODIFIED"))
            }
            _ => refuse(409, "Conflict"),
        }
    }
}

impl State {
    fn store(&mut self, mut lease: Value, event: &str) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let line = format!("{}\n", json!({ "type": event, "object": lease }));
        self.watchers.retain(|watcher| watcher.unbounded_send(line.clone()).is_ok());
        self.lease = Some(lease.clone());
        lease
    }
}

impl Link {
    /// From now on no answer comes.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// From now on all is refused.
    pub(crate) fn forbid(&self) {
        self.forbidden.store(true, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> Client {
        let link = self.clone();
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let link = link.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(Body::new(body), usize::MAX).await.expect("a body in memory");
                if link.cut.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
                if link.forbidden.load(Ordering::Relaxed) {
                    return Ok::<_, Infallible>(refuse(403, "Forbidden"));
                }
                Ok(link.api.answer(&head.method, &head.uri.to_string(), &body))
            }
        });
        Client::new(service, "default")
    }
}

fn refuse(code: u16, reason: &str) -> Response<Body> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": format!("refused: {reason}") });
    respond(code, &status)
}

fn respond(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(body.to_string())).expect("a valid answer")
}
