//! The operator and its release, under test.

use std::fs;

use foghorn_lab::{Result, until};
use serde_json::Value;

use crate::{Cluster, PATIENCE, Plane, cluster::failed};

const SYSTEM: &str = "foghorn-system";
const DEPLOYMENT: &str = "deployment/foghorn-operator";

/// An operator's Pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPod {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: String,
}

impl Cluster {
    /// `helm uninstall`.
    ///
    /// # Errors
    /// What Helm says.
    pub fn uninstall(&self) -> Result<String> {
        self.lab.helm(&["uninstall", "foghorn", "-n", SYSTEM, "--wait", "--timeout", "180s"])
    }

    /// Gives the operator that many replicas and waits until there are as many Pods.
    ///
    /// # Errors
    /// If there are not within a minute.
    pub fn scale_operator(&self, replicas: usize) -> Result<()> {
        self.lab.kubectl(&["-n", SYSTEM, "scale", DEPLOYMENT, &format!("--replicas={replicas}")])?;
        until(&format!("{replicas} operators"), PATIENCE, || {
            Ok((self.operator_pods()?.len() == replicas).then_some(()))
        })
    }

    /// Replaces the operator's Pods by new ones and waits for them.
    ///
    /// # Errors
    /// If they do not get ready.
    pub fn restart_operator(&self) -> Result<()> {
        self.lab.kubectl(&["-n", SYSTEM, "rollout", "restart", DEPLOYMENT])?;
        self.lab.kubectl(&["-n", SYSTEM, "rollout", "status", DEPLOYMENT, "--timeout=60s"]).map(drop)
    }

    /// The operators' Pods, without those that end.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn operator_pods(&self) -> Result<Vec<OperatorPod>> {
        let selector = "app.kubernetes.io/component=operator";
        let pods = self.lab.kubectl_json(&["-n", SYSTEM, "get", "pods", "-l", selector])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lives = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let pod = |pod: &Value| OperatorPod {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            address: text(&pod["status"]["podIP"]),
        };
        Ok(pods["items"].as_array().into_iter().flatten().filter(lives).map(pod).collect())
    }

    /// The Pod of the operator that leads.
    ///
    /// # Errors
    /// If none does within half a minute.
    pub fn leading_operator(&self) -> Result<OperatorPod> {
        until("an operator that leads", PATIENCE, || {
            let lease = self.lab.kubectl_json(&["-n", SYSTEM, "get", "lease", "foghorn-operator"])?;
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            let name = holder.rsplit_once('_').map(|(pod, _)| pod).unwrap_or_default();
            Ok(self.operator_pods()?.into_iter().find(|pod| pod.name == name))
        })
    }

    /// kill -9 of an operator; kubelet starts it again.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill_operator(&self, pod: &OperatorPod) -> Result<()> {
        let own = format!("POD_NAME={}", pod.name);
        let is_own = |pid: &i32| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables.split(|byte| *byte == 0).any(|variable| variable == own.as_bytes())
        };
        let pid = self.lab.container_pids(&pod.node, SYSTEM)?.into_iter().find(is_own);
        let pid = pid.ok_or_else(|| failed(format!("the operator {} does not run", pod.name)))?;
        self.lab.node(&pod.node)?.exec(&["kill", "-9", &pid.to_string()]).map(drop)
    }

    /// Waits until a plane and its namespace are gone.
    ///
    /// # Errors
    /// If they are not within a minute and a half.
    pub fn plane_gone(&self, plane: Plane) -> Result<()> {
        until(&format!("plane {} is gone", plane.name), PATIENCE, || {
            let has = |kind: &str, name: &str| self.lab.kubectl(&["get", kind, name, "--ignore-not-found"]);
            let left = has("networkplane", plane.name)? + &has("namespace", &plane.namespace())?;
            Ok(left.trim().is_empty().then_some(()))
        })
    }
}
