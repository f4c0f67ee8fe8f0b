//! One plane under test.

use std::collections::BTreeMap;

use foghorn_lab::{Result, foghorn::namespace, topology::Network, until};
use serde_json::Value;

use crate::{Cluster, Lease, PATIENCE, cluster::condition};

/// A plane of the chart's example with two planes, and the network that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// The plane's name.
    pub name: &'static str,
    /// Its `loadBalancerClass`.
    pub class: &'static str,
    /// The lab's network.
    pub network: Network,
}

/// On eth1.
pub const PUBLIC: Plane =
    Plane { name: "public-prod", class: "foghorn.dev/public-prod", network: Network::Public };
/// On eth0; the default plane.
pub const PRIVATE: Plane =
    Plane { name: "private-dev", class: "foghorn.dev/private-dev", network: Network::Private };

impl Plane {
    /// A plane of that name, with a class of its own.
    #[must_use]
    pub fn named(name: &str, network: Network) -> Self {
        // A test makes a handful of planes, and its process ends with it.
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let class: &'static str = Box::leak(format!("foghorn.dev/{name}").into_boxed_str());
        Self { name, class, network }
    }

    /// The namespace of its announcers and claims.
    #[must_use]
    pub fn namespace(&self) -> String {
        namespace(self.name)
    }
}

impl Cluster {
    /// Waits until a plane is ready on all nodes.
    ///
    /// # Errors
    /// If it is not within a minute.
    pub fn wait_ready(&self, plane: &str) -> Result<()> {
        let all = format!("{0}/{0}", self.lab.config().nodes);
        until(&format!("plane {plane} ready on {all} nodes"), PATIENCE, || {
            let plane = self.lab.kubectl_json(&["get", "networkplane", plane])?;
            let ready = condition(&plane, "Ready").is_some_and(|c| c["status"] == "True");
            Ok((ready && plane["status"]["nodes"] == all.as_str()).then_some(()))
        })
    }

    /// Makes a plane besides the others, on the nodes' interface of its network, with more fields of its spec as they are
    /// between braces in YAML.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn make_plane(&self, plane: Plane, more: &str) -> Result<()> {
        let Plane { name, class, network } = plane;
        let interface = if network == Network::Public { "eth1" } else { "eth0" };
        let manifest = format!(
            "apiVersion: foghorn.dev/v1alpha1\nkind: NetworkPlane\nmetadata: {{name: {name}}}\nspec: {{loadBalancerClass: {class}, interface: {{name: {interface}}}, {more}}}\n"
        );
        self.lab.apply(&manifest).map(drop)
    }

    /// Changes a plane by a merge patch in JSON.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn patch_plane(&self, plane: Plane, patch: &str) -> Result<()> {
        self.lab.kubectl(&["patch", "networkplane", plane.name, "--type=merge", "-p", patch]).map(drop)
    }

    /// Deletes a plane, and waits until it is gone with all that belongs to it.
    ///
    /// # Errors
    /// If something of it is left.
    pub fn remove_plane(&self, plane: Plane) -> Result<()> {
        self.lab.kubectl(&["delete", "networkplane", plane.name, "--timeout=90s"])?;
        self.plane_gone(plane)
    }

    /// The node that assigns a plane's claims, by the plane's Lease.
    ///
    /// # Errors
    /// If there is none.
    pub fn coordinator(&self, plane: Plane) -> Result<String> {
        until(&format!("a coordinator of plane {}", plane.name), PATIENCE, || {
            Ok(Some(self.lease(plane)?.coordinator()?.to_owned()))
        })
    }

    /// The members of a plane by their incarnations, each with its node: the same while none is lost or starts anew. Which
    /// of them coordinates may change without that, where the API server is slow to answer it.
    ///
    /// # Errors
    /// If there is no Lease.
    pub fn members(&self, plane: Plane) -> Result<BTreeMap<String, String>> {
        let view: Value = serde_json::from_str(&self.lease(plane)?.view).unwrap_or_default();
        let text = |member: &Value, key| member[key].as_str().unwrap_or_default().to_owned();
        let members = view["members"].as_array().into_iter().flatten();
        Ok(members.map(|member| (text(member, "id"), text(member, "node"))).collect())
    }

    fn lease(&self, plane: Plane) -> Result<Lease> {
        Lease::of(&self.lab, plane.name)
    }

    /// Waits until all nodes of the lab are members of a plane.
    ///
    /// # Errors
    /// If they are not within a minute.
    pub fn all_members(&self, plane: Plane) -> Result<()> {
        let nodes = self.lab.nodes();
        until(&format!("all nodes are members of plane {}", plane.name), PATIENCE, || {
            let members = self.members(plane)?;
            let is_member = |name: &str| members.values().any(|node| node == name);
            Ok((members.len() == nodes.len() && nodes.iter().all(|node| is_member(node.name())))
                .then_some(()))
        })
    }

    /// Waits until a plane's condition has that reason, and gives its message.
    ///
    /// # Errors
    /// If it has not within half a minute.
    pub fn plane_reason(&self, plane: Plane, type_: &str, reason: &str) -> Result<String> {
        until(&format!("{reason} on plane {}", plane.name), PATIENCE, || {
            let object = self.lab.kubectl_json(&["get", "networkplane", plane.name])?;
            let found = condition(&object, type_).filter(|found| found["reason"] == reason);
            Ok(found.map(|found| found["message"].as_str().unwrap_or_default().to_owned()))
        })
    }

    /// The announcers' Pods of a plane: node and name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn announcers(&self, plane: Plane) -> Result<Vec<(String, String)>> {
        let pods = self.lab.kubectl_json(&["-n", &plane.namespace(), "get", "pods"])?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        Ok(pods.iter().map(|pod| (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["name"]))).collect())
    }
}
