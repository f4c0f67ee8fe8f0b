//! The way to the API server.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderValue, Method, Request, Response, Uri, header};
use futures::future::BoxFuture;
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use jiff::{Timestamp, fmt::rfc2822};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tower::{BoxError, Layer, Service, ServiceBuilder};

use crate::{api_clock::ApiClock, clock::Clock};

/// Longer than a lost SYN and its repetitions take on a good network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing came for so long is asked by the kernel whether there is still somebody.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How often it is asked.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// A connection on which nothing is acknowledged for so long is given up: the server has lost power, or its address is
/// another machine's by now.
const DEAD: Duration = Duration::from_secs(20);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither the service account of a pod nor a kubeconfig.
    #[error("no way to the API server is known: run in a pod with a service account, or set KUBECONFIG: {0}")]
    Config(#[source] kube::config::InferConfigError),
    /// A product name that HTTP does not allow.
    #[error("the user agent {0:?} has characters that an HTTP header cannot carry")]
    UserAgent(String),
    /// The configuration cannot be used.
    #[error("the way to the API server cannot be used; check certificates and token: {0}")]
    Build(#[source] kube::Error),
}

/// A client by the pod's service account, or by the kubeconfig outside of a pod. What it does is counted in
/// `foghorn_api_requests_total`, and its answers set `api_clock`.
///
/// Connecting takes at most 5 s, and a connection whose other end is gone is given up after 20 s. Answers of a server that is
/// there are waited for without limit, since watches are answers too: who cannot wait sets a limit of its own. Nothing is
/// tried again here.
///
/// # Errors
/// If there is no configuration, or an unusable one.
pub async fn connect(
    user_agent: &str,
    registry: &mut Registry,
    clock: Clock,
    api_clock: ApiClock,
) -> Result<Client, ClientError> {
    let mut config = Config::infer().await.map_err(ClientError::Config)?;
    let agent =
        HeaderValue::from_str(user_agent).map_err(|_| ClientError::UserAgent(user_agent.to_owned()))?;
    config.headers.push((header::USER_AGENT, agent));
    let https = config.rustls_https_connector_with_connector(tcp()).map_err(ClientError::Build)?;
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let service = ServiceBuilder::new()
        .layer(Observed::new(registry, clock, api_clock))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(ClientError::Build)?)
        .layer(config.extra_headers_layer().map_err(ClientError::Build)?)
        .map_err(BoxError::from)
        .service(HttpClient::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

/// Connections that are known to be dead soon after they are.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_tcp_user_timeout(Some(DEAD));
    tcp
}

/// The labels of `foghorn_api_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: String,
}

/// A layer that counts the requests to the API server and measures its clock.
#[derive(Clone, Debug)]
pub struct Observed {
    requests: Family<RequestLabels, Counter>,
    clock: Clock,
    api_clock: ApiClock,
}

impl Observed {
    /// The layer, with its counter in `registry`.
    pub fn new(registry: &mut Registry, clock: Clock, api_clock: ApiClock) -> Self {
        let requests = Family::default();
        registry.register("foghorn_api_requests", "Requests to the API server", requests.clone());
        Self { requests, clock, api_clock }
    }

    fn count(&self, verb: &'static str, resource: String, code: String) {
        self.requests.get_or_create(&RequestLabels { verb, resource, code }).inc();
    }
}

impl<S> Layer<S> for Observed {
    type Service = ObservedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ObservedService { inner, observed: self.clone() }
    }
}

/// See [`Observed`].
#[derive(Clone, Debug)]
pub struct ObservedService<S> {
    inner: S,
    observed: Observed,
}

impl<S, B> Service<Request<Body>> for ObservedService<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) = target(request.method(), request.uri());
        let observed = self.observed.clone();
        let sent = (observed.clock)();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            match &answer {
                Ok(answer) => {
                    observed.count(verb, resource, answer.status().as_str().to_owned());
                    // An error may come from a proxy, or from an API server that has lost its storage: neither makes it usable.
                    if let Some(date) = date(answer).filter(|_| answer.status().is_success()) {
                        observed.api_clock.observe(sent, (observed.clock)(), date);
                    }
                }
                Err(_) => observed.count(verb, resource, "none".to_owned()),
            }
            answer
        })
    }
}

fn date<B>(answer: &Response<B>) -> Option<Timestamp> {
    let text = answer.headers().get(header::DATE)?.to_str().ok()?;
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The verb of RBAC and the resource, with its subresource, of a request: `/api/v1/...` or `/apis/<group>/<version>/...`.
fn target(method: &Method, uri: &Uri) -> (&'static str, String) {
    let mut path = uri.path().split('/').filter(|part| !part.is_empty());
    let prefix = match path.next() {
        Some("api") => 1,
        Some("apis") => 2,
        Some(_) | None => return (verb(method, true, false), "none".to_owned()),
    };
    let mut path: Vec<_> = path.skip(prefix).collect();
    if let ["namespaces", _, _, ..] = path.as_slice() {
        path.drain(..2);
    }
    let watch = uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"));
    match path.as_slice() {
        [] => (verb(method, true, false), "none".to_owned()),
        [resource] => (verb(method, false, watch), (*resource).to_owned()),
        [resource, _] => (verb(method, true, watch), (*resource).to_owned()),
        [resource, _, subresource, ..] => (verb(method, true, watch), format!("{resource}/{subresource}")),
    }
}

fn verb(method: &Method, named: bool, watch: bool) -> &'static str {
    match method.as_str() {
        "GET" if watch => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::ready};

    use prometheus_client::encoding::text::encode;
    use tower::service_fn;

    use super::*;
    use crate::clock::boot_time;

    #[test]
    fn requests_are_named_as_in_rbac() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/services?limit=500", ("list", "services")),
            (Method::GET, "/api/v1/services?watch=true&timeoutSeconds=9", ("watch", "services")),
            (Method::GET, "/api/v1/namespaces/web", ("get", "namespaces")),
            (Method::POST, "/api/v1/namespaces", ("create", "namespaces")),
            (
                Method::PATCH,
                "/api/v1/namespaces/web/services/a/status?force=true",
                ("patch", "services/status"),
            ),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/n/leases/l", ("update", "leases")),
            (Method::DELETE, "/apis/foghorn.dev/v1alpha1/networkplanes/p", ("delete", "networkplanes")),
            (Method::GET, "/version", ("get", "none")),
        ] {
            let (verb, resource) = target(&method, &uri.parse().unwrap());
            assert_eq!((verb, resource.as_str()), expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn answers_and_their_absence_are_counted_and_set_the_clock() {
        let mut registry = Registry::default();
        let api_clock = ApiClock::default();
        let observed = Observed::new(&mut registry, boot_time, api_clock.clone());
        let mut service = observed.layer(service_fn(async |request: Request<Body>| match request.method() {
            &Method::GET => {
                Ok(Response::builder().header("Date", "Thu, 01 Jan 2026 00:00:00 GMT").body(()).unwrap())
            }
            _ => Err("cut off"),
        }));
        for method in [Method::GET, Method::PUT] {
            let uri = "/apis/coordination.k8s.io/v1/namespaces/n/leases/l";
            let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
            let _ = service.call(request).await;
        }
        let mut metrics = String::new();
        encode(&mut metrics, &registry).unwrap();
        for line in [
            "foghorn_api_requests_total{verb=\"get\",resource=\"leases\",code=\"200\"} 1\n",
            "foghorn_api_requests_total{verb=\"update\",resource=\"leases\",code=\"none\"} 1\n",
        ] {
            assert!(metrics.contains(line), "{metrics}");
        }
        assert!(api_clock.timestamp(boot_time()).is_some());
    }

    #[tokio::test]
    async fn an_api_server_that_answers_errors_only_does_not_set_the_clock() {
        for (code, sets) in [(503, false), (429, false), (404, false), (200, true)] {
            let api_clock = ApiClock::default();
            let observed = Observed::new(&mut Registry::default(), boot_time, api_clock.clone());
            let mut service = observed.layer(service_fn(|_: Request<Body>| {
                let answer = Response::builder().status(code).header("Date", "Thu, 01 Jan 2026 00:00:00 GMT");
                ready(Ok::<_, Infallible>(answer.body(()).unwrap()))
            }));
            let request = Request::builder().uri("/api/v1/configmaps").body(Body::empty()).unwrap();
            let _ = service.call(request).await;
            assert_eq!(api_clock.measured().is_some(), sets, "{code}");
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let answer = Response::builder().header("Date", "Thu, 01 Jan 2026 00:00:00 GMT").body(()).unwrap();
        assert_eq!(date(&answer), Some("2026-01-01T00:00:00Z".parse().unwrap()));
    }
}
