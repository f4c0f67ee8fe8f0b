//! The custom resource definitions: newer ones are brought in, older ones never.

use std::{collections::BTreeSet, time::Duration};

use foghorn_crds::{contract, definitions};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use thiserror::Error;
use tokio::time::timeout;

/// How long the API server may take to serve a definition.
const ESTABLISHED_WITHIN: Duration = Duration::from_secs(30);

/// Why the definitions are not as they should be.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// The API server refused, or could not be reached.
    #[error("cannot {verb} the definition {name}: {source}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// The definition.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// It is there and not served.
    #[error(
        "the API server does not serve the definition {0} yet: see its conditions with kubectl describe crd {0}"
    )]
    NotEstablished(String),
    /// Objects are stored in a version that the newer definition does not know.
    #[error(
        "the definition {name} has objects stored as {versions}, which this release cannot read: upgrade by an earlier release first"
    )]
    StoredVersions {
        /// The definition.
        name: String,
        /// The versions.
        versions: String,
    },
}

/// What is to be done with one definition.
#[derive(Debug, PartialEq)]
enum Step {
    Create,
    Replace(Box<CustomResourceDefinition>),
    Keep,
}

/// Brings the definitions of this release in, where there are none or older ones, and waits until they are served.
///
/// # Errors
/// [`DefinitionError`], which names the definition.
pub async fn bring_in(client: &Client) -> Result<(), DefinitionError> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for ours in definitions() {
        let name = ours.name_any();
        let error = |verb| {
            let name = name.clone();
            move |source| DefinitionError::Api { verb, name, source: Box::new(source) }
        };
        let live = api.get_opt(&name).await.map_err(error("get"))?;
        match step(live, &ours)? {
            Step::Create => {
                api.create(&PostParams::default(), &ours).await.map_err(error("create"))?;
                tracing::info!(definition = name, "created");
            }
            Step::Replace(newer) => {
                api.replace(&name, &PostParams::default(), &newer).await.map_err(error("update"))?;
                tracing::info!(
                    definition = name,
                    version = contract::SCHEMA_VERSION,
                    "brought to a newer schema"
                );
            }
            Step::Keep => {}
        }
        let established =
            timeout(ESTABLISHED_WITHIN, await_condition(api.clone(), &name, is_crd_established()));
        if !matches!(established.await, Ok(Ok(_))) {
            return Err(DefinitionError::NotEstablished(name));
        }
    }
    Ok(())
}

fn step(
    live: Option<CustomResourceDefinition>,
    ours: &CustomResourceDefinition,
) -> Result<Step, DefinitionError> {
    let Some(mut live) = live else { return Ok(Step::Create) };
    if schema_version(&live) >= schema_version(ours) {
        return Ok(Step::Keep);
    }
    let known: BTreeSet<_> = ours.spec.versions.iter().map(|version| version.name.as_str()).collect();
    let stored = live.status.iter().flat_map(|status| status.stored_versions.iter().flatten());
    let unknown: Vec<_> = stored.filter(|version| !known.contains(version.as_str())).cloned().collect();
    if !unknown.is_empty() {
        return Err(DefinitionError::StoredVersions { name: live.name_any(), versions: unknown.join(", ") });
    }
    live.spec = ours.spec.clone();
    live.annotations_mut().extend(ours.annotations().clone());
    Ok(Step::Replace(Box::new(live)))
}

/// A definition without the mark, or with one that is no number, is older than all.
fn schema_version(definition: &CustomResourceDefinition) -> u32 {
    let mark = definition.annotations().get(contract::SCHEMA_VERSION_ANNOTATION);
    mark.and_then(|mark| mark.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionStatus;

    use super::*;

    #[test]
    fn a_missing_definition_is_made() {
        assert_eq!(step(None, &ours()).unwrap(), Step::Create);
    }

    #[test]
    fn an_older_definition_is_replaced_and_keeps_what_others_wrote_on_it() {
        let mut old = marked("0");
        old.spec.versions.clear();
        old.metadata.resource_version = Some("7".into());
        old.labels_mut().insert("app.kubernetes.io/managed-by".into(), "Helm".into());
        let Step::Replace(new) = step(Some(old), &ours()).unwrap() else { panic!("it is older") };
        assert_eq!(new.spec, ours().spec);
        assert_eq!(schema_version(&new), contract::SCHEMA_VERSION);
        assert_eq!(new.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(new.labels()["app.kubernetes.io/managed-by"], "Helm");
    }

    #[test]
    fn a_definition_without_a_readable_mark_is_older_than_ours() {
        let mut unmarked = ours();
        unmarked.annotations_mut().clear();
        assert!(matches!(step(Some(unmarked), &ours()), Ok(Step::Replace(_))));
        assert!(matches!(step(Some(marked("new")), &ours()), Ok(Step::Replace(_))));
    }

    #[test]
    fn the_same_and_newer_definitions_are_left_alone() {
        assert_eq!(step(Some(ours()), &ours()).unwrap(), Step::Keep);
        assert_eq!(step(Some(marked("4000000000")), &ours()).unwrap(), Step::Keep);
    }

    #[test]
    fn a_stored_version_that_would_be_lost_keeps_the_definition_as_it_is() {
        let mut old = marked("0");
        old.status = Some(CustomResourceDefinitionStatus {
            stored_versions: Some(vec!["v1alpha0".into()]),
            ..CustomResourceDefinitionStatus::default()
        });
        let error = step(Some(old), &ours()).unwrap_err();
        assert!(error.to_string().contains("v1alpha0"), "{error}");
    }

    fn ours() -> CustomResourceDefinition {
        definitions().remove(0)
    }

    fn marked(version: &str) -> CustomResourceDefinition {
        let mut definition = ours();
        let mark = contract::SCHEMA_VERSION_ANNOTATION.to_owned();
        definition.annotations_mut().insert(mark, version.to_owned());
        definition
    }
}
