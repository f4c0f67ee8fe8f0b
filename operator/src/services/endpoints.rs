//! The watch of EndpointSlices, for the Services whose addresses follow their endpoints.

use std::{
    future::pending,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use foghorn_shell::{readable::Readable, watching::patience};
use futures::{
    Stream, StreamExt, TryStreamExt,
    channel::mpsc::{self, UnboundedSender},
    future,
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::ListParams,
    runtime::{
        WatchStreamExt,
        reflector::ObjectRef,
        watcher::{self, Event},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    memory::Key,
    reference,
    serving::{SERVICE_LABEL, Serving, Slice},
};
use crate::error::Error;

/// The slices that kube-proxy looks at: headless Services have no addresses of load balancers.
const SELECTOR: &str = "!service.kubernetes.io/headless";

/// Which nodes serve the Services that are asked for. It is watched from the first question on.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    serving: Mutex<Serving>,
    asked: Notify,
    listeners: Mutex<Vec<UnboundedSender<ObjectRef<Service>>>>,
}

impl Endpoints {
    /// The nodes that serve the Service, sorted.
    ///
    /// # Errors
    /// If the Service's slices cannot be listed.
    pub(crate) async fn nodes(&self, client: &Client, service: &Key) -> Result<Vec<String>, Error> {
        if let Some(nodes) = self.serving().nodes(service) {
            return Ok(nodes);
        }
        self.asked.notify_one();
        let (namespace, name) = service;
        let api: Api<Readable<Slice>> = Api::namespaced(client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!("{SERVICE_LABEL}={name}"));
        let listed = api.list(&of_service).await;
        let listed = listed.map_err(Error::api::<EndpointSlice>("list", format!("{namespace}/{name}")))?;
        let slices = listed.items.into_iter().filter_map(Readable::object).collect();
        let mut serving = self.serving();
        serving.listed(service, slices);
        Ok(serving.nodes(service).unwrap_or_default())
    }

    /// Forgets a Service that is not asked for any longer.
    pub(crate) fn forget(&self, service: &Key) {
        self.serving().forget(service);
    }

    /// The Services that have other nodes than before, as that becomes known.
    pub(crate) fn changes(&self) -> impl Stream<Item = ObjectRef<Service>> + Send + use<> {
        let (sender, changes) = mpsc::unbounded();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        changes
    }

    /// Follows the slices of the cluster while the future is polled; it never ends.
    pub(crate) async fn follow(&self, client: Client) {
        self.asked.notified().await;
        let api: Api<Readable<Slice>> = Api::all(client);
        let config = watcher::Config::default().labels(SELECTOR);
        let events = watcher::watcher(api, config).backoff(patience());
        self.follow_events(events.try_filter_map(|event| future::ready(Ok(read(event))))).await;
    }

    async fn follow_events(&self, events: impl Stream<Item = Result<Event<Slice>, watcher::Error>> + Send) {
        let mut events = pin!(events);
        loop {
            let due = self.serving().due();
            let due = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.serving().watched(Instant::now(), event),
                    Some(Err(error)) => tracing::warn!(kind = "EndpointSlice", %error, "watch failed, trying again"),
                    None => return,
                },
                () = due => self.tell(),
            }
        }
    }

    fn tell(&self) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for service in self.serving().settle(Instant::now()) {
            tracing::debug!(namespace = service.0, name = service.1, "other nodes serve the Service");
            let service = reference(service);
            listeners.retain(|listener| listener.unbounded_send(service.clone()).is_ok());
        }
    }

    fn serving(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event, unless its slice cannot be read.
fn read(event: Event<Readable<Slice>>) -> Option<Event<Slice>> {
    match event {
        Event::Apply(slice) => slice.object().map(Event::Apply),
        Event::Delete(slice) => slice.object().map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitApply(slice) => slice.object().map(Event::InitApply),
        Event::InitDone => Some(Event::InitDone),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::services::fixtures::server;

    #[tokio::test]
    async fn a_service_is_listed_once_and_then_followed() {
        let endpoints = Arc::new(Endpoints::default());
        let mut changes = endpoints.changes();
        let list = json!({"metadata": {}, "items": [slice(&["w2", "w1"])]});
        let (client, server) = server(200, list);
        let web = ("shop".to_owned(), "web".to_owned());
        assert_eq!(endpoints.nodes(&client, &web).await.unwrap(), ["w1", "w2"]);
        let (line, _) = server.await.unwrap();
        assert!(line.contains("/namespaces/shop/endpointslices?"), "{line}");
        assert!(line.contains("service-name%3Dweb"), "{line}");

        let (sender, events) = mpsc::unbounded();
        let following = endpoints.clone();
        let following = tokio::spawn(async move { following.follow_events(events).await });
        sender.unbounded_send(Ok(Event::Apply(serde_json::from_value(slice(&["w3"])).unwrap()))).unwrap();
        assert_eq!(changes.next().await.unwrap().name, "web");
        assert_eq!(endpoints.nodes(&client, &web).await.unwrap(), ["w3"]);
        drop(sender);
        following.await.unwrap();
    }

    fn slice(nodes: &[&str]) -> Value {
        let endpoints: Vec<_> =
            nodes.iter().map(|node| json!({"nodeName": node, "conditions": {}})).collect();
        json!({
            "metadata": {"namespace": "shop", "name": "web-1", "labels": {SERVICE_LABEL: "web"}},
            "addressType": "IPv4", "endpoints": endpoints,
        })
    }
}
