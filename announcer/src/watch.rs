//! What the API server says of the plane: its configuration and its claims.

use std::{collections::BTreeMap, sync::Arc};

use foghorn_crds::{AddressClaim, PlaneConfig, config::ConfigError, contract};
use foghorn_shell::{readable::Readable, watching::patience};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource, ResourceExt,
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
    /// The claim is there and cannot be read, and was not read since this watch began.
    Unreadable(String),
    /// A claim is no more.
    Gone(String),
    /// All claims that there are have been told, and those that are no more.
    Complete,
}

/// The claims of the namespace, as they change; without an end.
pub fn claims(client: Client, namespace: &str) -> impl Stream<Item = ClaimNews> + Send + use<> {
    let api: Api<Readable<AddressClaim>> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut known = Known::default();
    watcher::watcher(api, config)
        .backoff(patience())
        .modify(forget_writers)
        .map(move |event| match event {
            Ok(event) => known.news(event),
            Err(error) => {
                warn!(%error, "claims cannot be watched, trying again");
                Vec::new()
            }
        })
        .flat_map(stream::iter)
}

/// Who wrote which field is half of what a claim takes of memory. The API server keeps it if a write says nothing of it;
/// an empty list would reset it.
fn forget_writers(claim: &mut Readable<AddressClaim>) {
    claim.meta_mut().managed_fields = None;
}

/// The claims by name; nothing for one that was never read.
type Claims = BTreeMap<String, Option<Arc<AddressClaim>>>;

#[derive(Default)]
struct Known {
    /// The claims told so far.
    told: Claims,
    /// Those of a list under way.
    listed: Claims,
}

impl Known {
    /// What an event of the watch tells. A claim that became unreadable stays as it was, but for its metadata.
    fn news(&mut self, event: Event<Readable<AddressClaim>>) -> Vec<ClaimNews> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(claim) => {
                let (name, claim) = self.read(claim);
                self.listed.insert(name.clone(), claim.clone());
                vec![present(name, claim)]
            }
            Event::InitDone => {
                let told = std::mem::replace(&mut self.told, std::mem::take(&mut self.listed));
                let gone = told.into_keys().filter(|name| !self.told.contains_key(name)).map(ClaimNews::Gone);
                gone.chain([ClaimNews::Complete]).collect()
            }
            Event::Apply(claim) => {
                let (name, claim) = self.read(claim);
                self.told.insert(name.clone(), claim.clone());
                vec![present(name, claim)]
            }
            Event::Delete(claim) => {
                let name = claim.name_any();
                self.told.remove(&name);
                vec![ClaimNews::Gone(name)]
            }
        }
    }

    fn read(&self, claim: Readable<AddressClaim>) -> (String, Option<Arc<AddressClaim>>) {
        let name = claim.name_any();
        if let Readable::Unreadable(unreadable) = &claim {
            unreadable.log::<AddressClaim>("what was known of it stays in force");
        }
        let former = self.told.get(&name).and_then(Option::as_deref);
        (name, claim.or_former(former).ok().map(Arc::new))
    }
}

fn present(name: String, claim: Option<Arc<AddressClaim>>) -> ClaimNews {
    claim.map_or(ClaimNews::Unreadable(name), ClaimNews::Present)
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
    use k8s_openapi::{
        apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time},
        jiff::Timestamp,
    };

    #[test]
    fn a_claim_that_went_while_the_watch_was_broken_is_told_as_gone() {
        let mut known = Known::default();
        known.news(Event::Init);
        known.news(Event::InitApply(readable("a")));
        assert!(matches!(known.news(Event::InitDone).as_slice(), [ClaimNews::Complete]));
        known.news(Event::Apply(readable("b")));
        known.news(Event::Init);
        known.news(Event::InitApply(readable("b")));
        match known.news(Event::InitDone).as_slice() {
            [ClaimNews::Gone(name), ClaimNews::Complete] => assert_eq!(name, "a"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unreadable_claim_keeps_what_was_known_of_it() {
        let mut known = Known::default();
        known.news(Event::Apply(readable("a")));
        let mut deleted = unreadable("a");
        deleted.meta_mut().deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        known.news(Event::Init);
        match known.news(Event::InitApply(deleted)).as_slice() {
            [ClaimNews::Present(kept)] => {
                assert_eq!(kept.spec, claim("a").spec);
                assert!(kept.metadata.deletion_timestamp.is_some());
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(known.news(Event::InitDone).as_slice(), [ClaimNews::Complete]));
    }

    #[test]
    fn a_claim_that_was_never_readable_is_there_all_the_same() {
        let mut known = Known::default();
        known.news(Event::Init);
        let news = known.news(Event::InitApply(unreadable("a")));
        assert!(matches!(news.as_slice(), [ClaimNews::Unreadable(name)] if name == "a"));
        known.news(Event::InitDone);
        assert!(matches!(known.news(Event::Apply(readable("a"))).as_slice(), [ClaimNews::Present(_)]));
    }

    #[test]
    fn a_claim_that_is_written_back_says_nothing_of_who_wrote_which_field() {
        let mut claim = readable("a");
        claim.meta_mut().managed_fields = Some(vec![ManagedFieldsEntry::default()]);
        forget_writers(&mut claim);
        assert_eq!(claim.meta().managed_fields, None);
    }

    fn readable(name: &str) -> Readable<AddressClaim> {
        Readable::Object(claim(name))
    }

    fn unreadable(name: &str) -> Readable<AddressClaim> {
        let mut value = serde_json::to_value(claim(name)).unwrap();
        value["spec"]["dhcp"]["requestedAddress"] = "203.0.113.007".into();
        serde_json::from_value(value).unwrap()
    }
}
