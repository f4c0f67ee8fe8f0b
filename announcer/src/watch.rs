//! What the API server says of the plane: its configuration and its claims.

use std::{collections::BTreeSet, sync::Arc};

use foghorn_crds::{AddressClaim, PlaneConfig, config::ConfigError, contract};
use foghorn_shell::watching::patience;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tracing::warn;

/// Longest life of one watch request, in seconds: a server that says nothing any more is noticed by then.
const WATCH_SECONDS: u32 = 60;

/// News of the plane's claims.
#[derive(Debug)]
pub enum ClaimNews {
    /// The present state of a claim.
    Present(Arc<AddressClaim>),
    /// A claim is no more.
    Gone(String),
    /// All claims that there are have been told, and those that are no more.
    Complete,
}

/// The claims of the namespace, as they change; without an end.
pub fn claims(client: Client, namespace: &str) -> impl Stream<Item = ClaimNews> + Send + use<> {
    let api: Api<AddressClaim> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut known = BTreeSet::new();
    let mut listed = BTreeSet::new();
    watcher::watcher(api, config)
        .backoff(patience())
        .modify(forget_writers)
        .map(move |event| match event {
            Ok(event) => claim_news(event, &mut known, &mut listed),
            Err(error) => {
                warn!(%error, "claims cannot be watched, trying again");
                Vec::new()
            }
        })
        .flat_map(stream::iter)
}

/// Who wrote which field is half of what a claim takes of memory. The API server keeps it if a write says nothing of it;
/// an empty list would reset it.
fn forget_writers(claim: &mut AddressClaim) {
    claim.metadata.managed_fields = None;
}

/// What an event of the watch tells. `known` are the claims told so far, `listed` those of a list under way.
fn claim_news(
    event: Event<AddressClaim>,
    known: &mut BTreeSet<String>,
    listed: &mut BTreeSet<String>,
) -> Vec<ClaimNews> {
    let name = |claim: &AddressClaim| claim.metadata.name.clone().unwrap_or_default();
    match event {
        Event::Init => {
            listed.clear();
            Vec::new()
        }
        Event::InitApply(claim) => {
            listed.insert(name(&claim));
            vec![ClaimNews::Present(Arc::new(claim))]
        }
        Event::InitDone => {
            let gone = known.difference(listed).cloned().map(ClaimNews::Gone);
            let news = gone.chain([ClaimNews::Complete]).collect();
            *known = std::mem::take(listed);
            news
        }
        Event::Apply(claim) => {
            known.insert(name(&claim));
            vec![ClaimNews::Present(Arc::new(claim))]
        }
        Event::Delete(claim) => {
            known.remove(&name(&claim));
            vec![ClaimNews::Gone(name(&claim))]
        }
    }
}

/// The plane's configuration, as it changes; without an end. One that cannot be read is an error, and the one before
/// stays in force.
pub fn plane_config(
    client: Client,
    namespace: &str,
) -> impl Stream<Item = Result<PlaneConfig, ConfigError>> + Send + use<> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    watcher::watch_object(api, contract::PLANE_CONFIG_MAP).backoff(patience()).filter_map(async |event| {
        match event {
            Ok(Some(map)) => Some(PlaneConfig::from_config_map(&map)),
            Ok(None) => Some(Err(ConfigError::Missing(contract::PLANE_CONFIG_MAP.to_owned()))),
            Err(error) => {
                warn!(%error, "the plane's configuration cannot be watched, trying again");
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use foghorn_crds::fixtures::claim;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    #[test]
    fn a_claim_that_went_while_the_watch_was_broken_is_told_as_gone() {
        let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
        let mut take = |event| claim_news(event, &mut known, &mut listed);
        take(Event::Init);
        take(Event::InitApply(claim("a")));
        assert!(matches!(take(Event::InitDone).as_slice(), [ClaimNews::Complete]));
        take(Event::Apply(claim("b")));
        take(Event::Init);
        take(Event::InitApply(claim("b")));
        match take(Event::InitDone).as_slice() {
            [ClaimNews::Gone(name), ClaimNews::Complete] => assert_eq!(name, "a"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_that_is_written_back_says_nothing_of_who_wrote_which_field() {
        let mut claim = claim("a");
        claim.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        forget_writers(&mut claim);
        assert!(!serde_json::to_string(&claim).unwrap().contains("managedFields"));
    }
}
