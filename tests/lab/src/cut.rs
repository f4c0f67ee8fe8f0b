//! What does not get through although all cables are in: packet filters on nodes and on the switch.

use crate::{
    error::Result,
    host::Host,
    lab::Lab,
    network,
    topology::{API_SERVER, Network},
};

/// The table that [`Lab::cut_api`] makes on a node.
const API: &str = "foghorn_lab_cut";
/// The table that [`Lab::cut_udp`] makes on a node.
const UDP: &str = "foghorn_lab_cut_udp";

impl Lab {
    /// Drops all packets between a node, its Pods included, and the API server's host.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn cut_api(&self, node: &str) -> Result<()> {
        let drop = format!("ip daddr {API_SERVER} drop; ip saddr {API_SERVER} drop;");
        replace(&self.node(node)?, &format!("ip {API}"), &["input", "forward", "output"], &drop)
    }

    /// Undoes [`Self::cut_api`].
    ///
    /// # Errors
    /// If there is no such node.
    pub fn mend_api(&self, node: &str) -> Result<()> {
        remove(&self.node(node)?, &format!("ip {API}"))
    }

    /// Whether [`Self::cut_api`] is in force on a node.
    ///
    /// # Errors
    /// If nft cannot be run.
    pub(crate) fn is_cut(&self, host: &Host) -> Result<bool> {
        Ok(host.exec(&["nft", "list", "tables", "ip"])?.lines().any(|line| line == format!("table ip {API}")))
    }

    /// Drops what a node sends to that UDP port, and what it is sent there.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn cut_udp(&self, node: &str, port: u16) -> Result<()> {
        let drop = format!("udp dport {port} drop;");
        replace(&self.node(node)?, &format!("inet {UDP}"), &["input", "output"], &drop)
    }

    /// Undoes [`Self::cut_udp`].
    ///
    /// # Errors
    /// If there is no such node.
    pub fn mend_udp(&self, node: &str) -> Result<()> {
        remove(&self.node(node)?, &format!("inet {UDP}"))
    }

    /// Lets the switch drop frames of an EtherType to and from a host on that network.
    ///
    /// # Errors
    /// [`Error::NoCable`].
    pub fn cut_ethertype(&self, host: &str, network: Network, ethertype: u16) -> Result<()> {
        let port = network::port(self, host, network)?;
        let frames = format!("ether type {ethertype:#06x} drop");
        let drop = format!("iifname {port} {frames}; oifname {port} {frames};");
        replace(&self.switch(), &frames_table(host), &["forward"], &drop)
    }

    /// Undoes [`Self::cut_ethertype`] of all networks of a host.
    ///
    /// # Errors
    /// If nft cannot be run.
    pub fn mend_ethertype(&self, host: &str) -> Result<()> {
        remove(&self.switch(), &frames_table(host))
    }
}

/// The table that [`Lab::cut_ethertype`] makes on the switch.
fn frames_table(host: &str) -> String {
    format!("bridge foghorn_lab_cut_{}", host.replace('-', "_"))
}

/// Makes a table, by its family and name, that has these rules in each of these hooks and nothing else.
fn replace(host: &Host, table: &str, hooks: &[&str], rules: &str) -> Result<()> {
    let chain = |hook: &&str| format!("chain {hook} {{ type filter hook {hook} priority 0; {rules} }}\n");
    let chains: String = hooks.iter().map(chain).collect();
    host.nft(&format!("table {table}\ndelete table {table}\ntable {table} {{\n{chains}}}\n"))
}

/// Removes a table. That there is none is no error.
fn remove(host: &Host, table: &str) -> Result<()> {
    host.nft(&format!("table {table}\ndelete table {table}\n"))
}
