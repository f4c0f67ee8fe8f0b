//! What makes a plane pass a node over.

use foghorn_lab::Result;

use crate::Cluster;

const LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const TAINT: &str = "node.kubernetes.io/out-of-service";

/// Something on a node for which it has addresses only while no other node can have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is cordoned.
    Cordoned,
    /// The label that excludes from load balancers.
    Excluded,
    /// The taint of a node that is shut down; one that evicts nobody.
    OutOfService,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cordoned, Self::Excluded, Self::OutOfService];

    /// What the plane's condition `Placement` says of a node that has it.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Cordoned => "cordoned".to_owned(),
            Self::Excluded => format!("label {LABEL}"),
            Self::OutOfService => format!("taint {TAINT}"),
        }
    }
}

impl Cluster {
    /// Puts the mark on a node.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn mark(&self, mark: Mark, node: &str) -> Result<()> {
        let (label, taint) = (format!("{LABEL}=true"), format!("{TAINT}=nodeshutdown:NoSchedule"));
        let said = match mark {
            Mark::Cordoned => self.lab.kubectl(&["cordon", node]),
            Mark::Excluded => self.lab.kubectl(&["label", "node", node, &label, "--overwrite"]),
            Mark::OutOfService => self.lab.kubectl(&["taint", "node", node, &taint, "--overwrite"]),
        };
        said.map(drop)
    }

    /// Takes the mark off all nodes that have it.
    ///
    /// # Errors
    /// What kubectl says.
    pub fn unmark_all(&self, mark: Mark) -> Result<()> {
        let nodes = self.lab.kubectl_json(&["get", "nodes"])?;
        for node in nodes["items"].as_array().into_iter().flatten() {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let taints = node["spec"]["taints"].as_array().into_iter().flatten();
            let (label, taint) = (format!("{LABEL}-"), format!("{TAINT}-"));
            let undo: &[&str] = match mark {
                Mark::Cordoned if node["spec"]["unschedulable"] == true => &["uncordon", name],
                Mark::Excluded if node["metadata"]["labels"][LABEL].is_string() => {
                    &["label", "node", name, &label]
                }
                Mark::OutOfService if { taints }.any(|it| it["key"] == TAINT) => {
                    &["taint", "node", name, &taint]
                }
                Mark::Cordoned | Mark::Excluded | Mark::OutOfService => continue,
            };
            self.lab.kubectl(undo)?;
        }
        Ok(())
    }
}
