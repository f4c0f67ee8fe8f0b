//! Whether the node has the plane's interface, told as a condition of the announcer's own Pod.

use std::time::Duration;

use foghorn_crds::contract;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};
use tracing::warn;

const RETRY: Duration = Duration::from_secs(2);

/// What is to be said of the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceCondition {
    /// In working order.
    pub ready: bool,
    /// One of [`reasons`](foghorn_crds::conditions::reasons).
    pub reason: &'static str,
    /// In words, with names.
    pub message: String,
}

/// Writes each condition that comes, until the sender is gone. What fails is tried again, with what is true then.
pub async fn tell(
    client: Client,
    namespace: String,
    pod: String,
    mut conditions: watch::Receiver<Option<InterfaceCondition>>,
) {
    let api: Api<Pod> = Api::namespaced(client, &namespace);
    while conditions.changed().await.is_ok() {
        loop {
            let Some(condition) = conditions.borrow_and_update().clone() else { break };
            let patch = json!({"status": {"conditions": [{
                "type": contract::INTERFACE_CONDITION,
                "status": if condition.ready { "True" } else { "False" },
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": Timestamp::now(),
            }]}});
            match api.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => break,
                Err(error) => {
                    warn!(%error, pod, "the Pod's condition cannot be written, trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }
}
