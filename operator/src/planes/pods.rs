//! What the announcers' Pods tell.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// How many nodes a message names.
const NAMED: usize = 5;

/// What the announcers tell by a condition of their Pods.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// How many say that it holds.
    pub(super) holding: usize,
    /// The nodes whose announcers say that it does not, with what they say.
    pub(super) failing: BTreeSet<String>,
    /// The reasons that they give.
    pub(super) reasons: BTreeSet<&'a str>,
    /// The nodes whose announcers say nothing of it.
    pub(super) silent: BTreeSet<String>,
}

impl<'a> Told<'a> {
    /// What the announcers in `pods` tell by the condition `type_`.
    pub(super) fn by(pods: impl IntoIterator<Item = &'a Pod>, type_: &str) -> Self {
        let mut told = Self::default();
        for pod in pods {
            let Some(node) = node_of(pod) else { continue };
            match condition_of(pod, type_) {
                Some(condition) if condition.status == "True" => told.holding += 1,
                Some(condition) => {
                    let message = condition.message.as_deref().unwrap_or("no reason was given");
                    told.failing.insert(format!("node {node}: {message}"));
                    told.reasons.insert(condition.reason.as_deref().unwrap_or_default());
                }
                None => {
                    told.silent.insert(format!("node {node}"));
                }
            }
        }
        told
    }

    /// The reason of all that fail, if they have one in common.
    pub(super) fn common_reason(&self) -> Option<&'a str> {
        self.reasons.first().copied().filter(|reason| self.reasons.len() == 1 && !reason.is_empty())
    }
}

/// Those of the Pods that are not being deleted.
pub(super) fn living(pods: &[Arc<Pod>]) -> impl Iterator<Item = &Pod> {
    pods.iter().map(|pod| &**pod).filter(|pod| pod.metadata.deletion_timestamp.is_none())
}

/// The Pod's node, once it has one.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The Pod's condition of that type.
pub(super) fn condition_of<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// Whether the Pod is ready, as its kubelet says.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition_of(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// What one of the Pod's containers waits for.
pub(super) fn waiting_for(pod: &Pod) -> Option<&str> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
}

/// The first few of the items, and how many more there are.
pub(super) fn join(items: &BTreeSet<String>, separator: &str) -> String {
    let named: Vec<_> = items.iter().take(NAMED).map(String::as_str).collect();
    let more = items.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("{separator}and {more} more") } else { String::new() };
    named.join(separator) + &more
}
