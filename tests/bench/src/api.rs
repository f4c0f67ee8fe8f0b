//! An API server in memory: as much of one as the operator needs. It keeps any kind of object, and checks nothing of them.
#![expect(
    clippy::indexing_slicing,
    reason = "objects of the bench itself; a member that is not there reads as null"
)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, Response, StatusCode, Uri, header},
};
use futures::stream;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::watch};

/// Longest body of a request, in bytes.
const LONGEST: usize = 4 << 20;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// As in the path, with its group: `services`, `coordination.k8s.io/leases`.
    pub(crate) resource: String,
    /// Empty where there is none.
    pub(crate) namespace: String,
    /// Empty where all are meant.
    pub(crate) name: String,
}

/// A write that was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at: Instant,
    pub(crate) key: Key,
}

/// The server. It ends with the process.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    store: Mutex<Store>,
    /// The version of the last change, for the watches that wait for it.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Store {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    /// All changes since `oldest`, by version.
    log: BTreeMap<u64, (Key, &'static str, Arc<Value>)>,
    oldest: u64,
    writes: Vec<Write>,
}

/// Why a request is refused, as Kubernetes says it.
struct Refused(StatusCode, &'static str);

const NOT_FOUND: Refused = Refused(StatusCode::NOT_FOUND, "NotFound");
const CONFLICT: Refused = Refused(StatusCode::CONFLICT, "Conflict");
const EXISTS: Refused = Refused(StatusCode::CONFLICT, "AlreadyExists");
const INVALID: Refused = Refused(StatusCode::BAD_REQUEST, "BadRequest");

impl Api {
    /// Starts it on a port of this host, with a thread of its own.
    pub(crate) fn start() -> io::Result<(Self, SocketAddr)> {
        let api = Self(Arc::new(Shared { store: Mutex::default(), changed: watch::Sender::new(0) }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let routes = Router::new().fallback(answer).with_state(api.clone());
        thread::spawn(move || runtime.block_on(async { axum::serve(listener, routes).await }));
        Ok((api, address))
    }

    /// Puts an object there, in place of the one that it is now.
    pub(crate) fn put(&self, resource: &str, object: Value) {
        let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = Key { resource: resource.to_owned(), namespace: meta("namespace"), name: meta("name") };
        let mut store = self.store();
        store.set(key, object);
        self.tell(&store);
    }

    /// The objects of a kind.
    pub(crate) fn all(&self, resource: &str) -> Vec<Arc<Value>> {
        self.store().of(resource).map(|(_, object)| object.clone()).collect()
    }

    /// How many objects of a kind are so.
    pub(crate) fn count(&self, resource: &str, is: impl Fn(&Value) -> bool) -> usize {
        self.store().of(resource).filter(|(_, object)| is(object)).count()
    }

    /// The writes of others than [`Api::put`] since the last call.
    pub(crate) fn writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.store().writes)
    }

    /// Forgets all changes, so that each watch has to begin with a list.
    pub(crate) fn compact(&self) {
        let mut store = self.store();
        store.version += 1;
        store.oldest = store.version;
        store.log.clear();
        self.tell(&store);
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, store: &Store) {
        self.0.changed.send_replace(store.version);
    }

    fn write(&self, method: &Method, path: Path, body: Value, is_apply: bool) -> Result<Value, Refused> {
        let mut store = self.store();
        let written = store.write(method, &path, body, is_apply)?;
        store.writes.push(Write { at: Instant::now(), key: path.key });
        self.tell(&store);
        Ok(Value::clone(&written))
    }

    /// The changes of what `path` names, from a version on; it ends where these are forgotten.
    fn watch(&self, path: Path, selects: Selector, from: u64) -> Body {
        let state = (self.clone(), self.0.changed.subscribe(), Some(from));
        let news = stream::unfold(state, move |(api, mut changed, from)| {
            let (path, selects) = (path.clone(), selects.clone());
            async move {
                let mut from = from?;
                loop {
                    changed.borrow_and_update();
                    let (text, next) = api.store().news(&path.key, &selects, from);
                    if !text.is_empty() || next.is_none() {
                        return Some((Ok::<_, Infallible>(text), (api, changed, next)));
                    }
                    from = next?;
                    changed.changed().await.ok()?;
                }
            }
        });
        Body::from_stream(news)
    }
}

impl Store {
    fn of(&self, resource: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key { resource: resource.to_owned(), ..Key::default() };
        self.objects.range(first..).take_while(move |(key, _)| key.resource == resource)
    }

    fn set(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        let version = self.version;
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(version.to_string());
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{version}"));
            meta["creationTimestamp"] = json!(format!("{:.0}", Timestamp::now()));
        }
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.insert(version, (key, kind, object.clone()));
        object
    }

    fn write(
        &mut self,
        method: &Method,
        path: &Path,
        body: Value,
        is_apply: bool,
    ) -> Result<Arc<Value>, Refused> {
        let mut key = path.key.clone();
        if method == Method::POST {
            let given = body["metadata"]["name"].as_str().map(str::to_owned);
            let prefix = body["metadata"]["generateName"].as_str().unwrap_or("any-");
            key.name = given.unwrap_or_else(|| format!("{prefix}{}", self.version));
            if self.objects.contains_key(&key) {
                return Err(EXISTS);
            }
            return Ok(self.created(key, body));
        }
        let Some(old) = self.objects.get(&key).cloned() else {
            return if is_apply { Ok(self.created(key, body)) } else { Err(NOT_FOUND) };
        };
        let claimed = &body["metadata"]["resourceVersion"];
        if claimed.is_string() && claimed != &old["metadata"]["resourceVersion"] {
            return Err(CONFLICT);
        }
        if method == Method::DELETE {
            let finalizers = old["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
            let mut ending = Value::clone(&old);
            ending["metadata"]["deletionTimestamp"] = json!(format!("{:.0}", Timestamp::now()));
            return Ok(if finalizers { self.set(key, ending) } else { self.remove(key, ending) });
        }
        let mut new = Value::clone(&old);
        if method == Method::PUT && path.subresource.is_some() {
            new["status"] = body["status"].clone();
        } else if method == Method::PUT {
            let status = new["status"].take();
            new = body;
            new["status"] = status;
        } else {
            merge(&mut new, body);
        }
        for field in ["uid", "creationTimestamp", "deletionTimestamp"] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        let finalizers = new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let ends = finalizers && new["metadata"]["deletionTimestamp"].is_string();
        if !ends && is_same(&new, &old) {
            return Ok(old);
        }
        Ok(if ends { self.remove(key, new) } else { self.set(key, new) })
    }

    fn created(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        object["metadata"]["name"] = json!(key.name);
        object["metadata"]["uid"] = Value::Null;
        if !key.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(key.namespace);
        }
        self.set(key, object)
    }

    fn remove(&mut self, key: Key, object: Value) -> Arc<Value> {
        self.version += 1;
        self.objects.remove(&key);
        let object = Arc::new(object);
        self.log.insert(self.version, (key, "DELETED", object.clone()));
        object
    }

    fn list(&self, key: &Key, selects: &Selector) -> Value {
        let items = self.of(&key.resource).filter(|(it, object)| selects.takes(key, it, object));
        let items: Vec<&Value> = items.map(|(_, object)| &**object).collect();
        let metadata = json!({"resourceVersion": self.version.to_string()});
        json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
    }

    /// Events after a version as lines, and the version to go on from; none if the changes from there on are forgotten.
    fn news(&self, key: &Key, selects: &Selector, from: u64) -> (String, Option<u64>) {
        if from < self.oldest {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
                "reason": "Expired", "message": "too old resource version"});
            return (format!("{}\n", json!({"type": "ERROR", "object": status})), None);
        }
        let mut text = String::new();
        for (it, kind, object) in self.log.range(from + 1..).map(|(_, change)| change) {
            if selects.takes(key, it, object) {
                text += &json!({"type": kind, "object": &**object}).to_string();
                text.push('\n');
            }
        }
        (text, Some(self.version))
    }
}

/// The path of a request.
#[derive(Clone, Debug, Default)]
struct Path {
    key: Key,
    subresource: Option<String>,
}

impl Path {
    fn read(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, rest) = match *parts.as_slice() {
            ["api", _, ref rest @ ..] => (String::new(), rest),
            ["apis", group, _, ref rest @ ..] => (format!("{group}/"), rest),
            _ => return None,
        };
        let (namespace, rest) = match *rest {
            ["namespaces", namespace, ref rest @ ..] if !matches!(rest, [] | ["status"]) => (namespace, rest),
            _ => ("", rest),
        };
        let (resource, name, subresource) = match *rest {
            [resource] => (resource, "", None),
            [resource, name] => (resource, name, None),
            [resource, name, subresource] => (resource, name, Some(subresource.to_owned())),
            _ => return None,
        };
        let key = Key {
            resource: format!("{group}{resource}"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Some(Self { key, subresource })
    }
}

/// Which objects of a kind are meant.
#[derive(Clone, Debug, Default)]
struct Selector {
    name: Option<String>,
    /// Labels, with the value where one is given.
    labels: Vec<(String, Option<String>)>,
}

impl Selector {
    fn of(query: &BTreeMap<String, String>) -> Self {
        let fields = query.get("fieldSelector").and_then(|fields| fields.strip_prefix("metadata.name="));
        let labels = query.get("labelSelector").map(String::as_str).unwrap_or_default();
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let label = |label: &str| match label.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.trim_start_matches('=').to_owned())),
            None => (label.to_owned(), None),
        };
        Self { name: fields.map(str::to_owned), labels: labels.map(label).collect() }
    }

    fn takes(&self, asked: &Key, key: &Key, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        asked.resource == key.resource
            && (asked.namespace.is_empty() || asked.namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.labels.iter().all(|(label, value)| {
                let has = labels.get(label).and_then(Value::as_str);
                has.is_some() && value.as_ref().is_none_or(|value| has == Some(value))
            })
    }
}

async fn answer(State(api): State<Api>, request: Request) -> Response<Body> {
    let answered = match Path::read(request.uri().path()) {
        Some(path) => api.answer(path, request).await,
        None => Err(NOT_FOUND),
    };
    answered.unwrap_or_else(|Refused(code, reason)| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
            "reason": reason, "message": reason});
        response(code, Body::from(status.to_string()))
    })
}

impl Api {
    async fn answer(&self, path: Path, request: Request) -> Result<Response<Body>, Refused> {
        let query = query(request.uri());
        let selects = Selector::of(&query);
        let method = request.method().clone();
        if method == Method::GET && query.get("watch").is_some_and(|watch| watch == "true") {
            let from = query.get("resourceVersion").and_then(|version| version.parse().ok());
            let from = from.unwrap_or_else(|| self.store().version);
            return Ok(response(StatusCode::OK, self.watch(path, selects, from)));
        }
        if method == Method::GET {
            let store = self.store();
            let found = if path.key.name.is_empty() {
                store.list(&path.key, &selects).to_string()
            } else {
                store.objects.get(&path.key).ok_or(NOT_FOUND)?.to_string()
            };
            return Ok(response(StatusCode::OK, Body::from(found)));
        }
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_apply = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
        let body = to_bytes(request.into_body(), LONGEST).await.map_err(|_| INVALID)?;
        let body =
            if body.is_empty() { json!({}) } else { serde_json::from_slice(&body).map_err(|_| INVALID)? };
        let code = if method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
        let written = self.write(&method, path, body, is_apply)?;
        Ok(response(code, Body::from(written.to_string())))
    }
}

fn response(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), decoded(value))).collect()
}

/// Without the escapes of a URI.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(letter) = escaped {
            decoded.push(char::from(letter));
        }
        decoded += part.get(2..).unwrap_or_default();
    }
    decoded
}

/// Merges a patch into an object, as RFC 7396 has it.
fn merge(object: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *object = patch;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            object.as_object_mut().map(|object| object.remove(&key));
        } else {
            merge(&mut object[key.as_str()], value);
        }
    }
}

/// Whether nothing was changed: no version is made for that.
fn is_same(new: &Value, old: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["resourceVersion"] = Value::Null;
        object
    };
    without(new) == without(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str) -> Value {
        json!({"metadata": {"namespace": namespace, "name": name, "labels": {"app": name}}, "spec": {"a": 1}})
    }

    fn path(text: &str) -> Path {
        Path::read(text).unwrap()
    }

    #[test]
    fn paths_name_a_resource_with_its_group_a_namespace_and_a_name() {
        let read = |text: &str| {
            let Path { key: Key { resource, namespace, name }, subresource } = path(text);
            (resource, namespace, name, subresource)
        };
        let key = |resource: &str, namespace: &str, name: &str, subresource: Option<&str>| {
            (resource.to_owned(), namespace.to_owned(), name.to_owned(), subresource.map(str::to_owned))
        };
        assert_eq!(read("/api/v1/services"), key("services", "", "", None));
        assert_eq!(read("/api/v1/namespaces/shop"), key("namespaces", "", "shop", None));
        assert_eq!(
            read("/apis/foghorn.dev/v1alpha1/namespaces/a/addressclaims/b/status"),
            key("foghorn.dev/addressclaims", "a", "b", Some("status"))
        );
        assert!(Path::read("/healthz").is_none());
    }

    #[test]
    fn writes_on_an_outdated_version_are_refused() {
        let (api, _) = Api::start().unwrap();
        api.put("services", object("shop", "web"));
        let path = path("/api/v1/namespaces/shop/services/web");
        let patch = |version: &str| json!({"metadata": {"resourceVersion": version}, "spec": {"b": 2}});
        let refused = api.write(&Method::PATCH, path.clone(), patch("7"), false);
        assert!(refused.is_err_and(|refused| refused.1 == "Conflict"));
        let written = api.write(&Method::PATCH, path, patch("1"), false).ok().unwrap();
        assert_eq!(written["spec"], json!({"a": 1, "b": 2}));
        assert_eq!(api.writes().len(), 1);
    }

    #[test]
    fn a_watch_tells_what_came_after_and_a_forgotten_version_is_gone() {
        let (api, _) = Api::start().unwrap();
        api.put("services", object("shop", "web"));
        api.put("services", object("shop", "api"));
        let key = Key { resource: "services".to_owned(), ..Key::default() };
        let selects = Selector { labels: vec![("app".to_owned(), Some("api".to_owned()))], name: None };
        let (text, next) = api.store().news(&key, &Selector::default(), 0);
        assert_eq!((text.lines().count(), next), (2, Some(2)));
        assert_eq!(api.store().news(&key, &selects, 0).0.lines().count(), 1);
        api.compact();
        let (text, next) = api.store().news(&key, &selects, 2);
        assert!(text.contains("410") && next.is_none(), "{text}");
    }

    #[test]
    fn what_has_finalizers_goes_with_the_last_one() {
        let (api, _) = Api::start().unwrap();
        let mut claim = object("a", "b");
        claim["metadata"]["finalizers"] = json!(["x"]);
        api.put("claims", claim);
        let path = path("/apis/y/v1/namespaces/a/claims/b");
        let path = Path { key: Key { resource: "claims".to_owned(), ..path.key }, ..path };
        let ending = api.write(&Method::DELETE, path.clone(), json!({}), false).ok().unwrap();
        assert!(ending["metadata"]["deletionTimestamp"].is_string());
        let patch = json!({"metadata": {"finalizers": []}});
        assert!(api.write(&Method::PATCH, path, patch, false).is_ok());
        assert_eq!(api.count("claims", |_| true), 0);
    }
}
