//! What the announcer wants, and what it is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use foghorn_netio::{Family, MarkRule};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The tables that every kernel has: default, main and local.
const RESERVED_TABLES: [u32; 4] = [0, 253, 254, 255];
/// The priority of the rule that leads to the main table.
const MAIN_PRIORITY: u32 = 32766;

/// A line from the announcer.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The planes that may have something on the node: what is left of others is removed. Nothing is if it is empty.
    pub planes: BTreeSet<String>,
    /// What is to be in force for the plane, if anything.
    pub wanted: Option<Wanted>,
}

/// What is to be in force.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The plane's interface.
    pub interface: Interface,
    /// Interfaces of other planes: nothing of this one comes in by them.
    pub other_interfaces: BTreeSet<String>,
    /// The plane's addresses, whichever node holds them.
    pub addresses: BTreeMap<IpAddr, Address>,
    /// What becomes of packets to these addresses that are for no service.
    pub guard: Option<Guard>,
    /// How replies leave by the interface.
    pub return_path: Option<ReturnPath>,
}

/// A network interface.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its MAC address, with which DHCP clients of the node ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<[u8; 6]>,
}

/// What is served at an address.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Protocols and ports.
    pub services: BTreeSet<(Protocol, u16)>,
    /// Where clients may come from; from everywhere if not given. Networks of the other family say nothing.
    pub sources: Option<Vec<IpNet>>,
    /// Its ports and source networks have no room: it is guarded, with no port open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// A protocol with ports.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What becomes of packets that are for no service.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// They are dropped.
    Drop,
    /// The sender is told.
    Reject,
}

/// How replies leave by the interface.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ReturnPath {
    /// The plane's value of the mask's bits in marks.
    pub mark: u32,
    /// The bits of marks that are ours.
    pub mask: u32,
    /// The plane's routing table.
    pub table: u32,
    /// The priority of the rule that leads there.
    pub priority: u32,
    /// The routes of the table.
    pub routes: BTreeSet<Route>,
}

/// A route over the interface.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which router, of the same family; none on the interface's own network.
    pub gateway: Option<IpAddr>,
}

/// A line to the announcer.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Whether anything is wanted.
    pub wanted: bool,
    /// What is wrong or stands in the way; nothing if all is in force.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In one word.
    pub reason: String,
    /// For people: what to do.
    pub message: String,
}

/// Why a line from the announcer is refused.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is no message.
    #[error("announcer and datapath do not understand each other, are they of one release? {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It asks for what no announcer wants.
    #[error(transparent)]
    Wanted(#[from] WantedError),
}

/// What no announcer wants.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WantedError {
    /// A name.
    #[error("{0:?} is no name of a network interface")]
    Interface(String),
    /// A mark.
    #[error("the mark {mark:#x} has no bit of the mask {mask:#x}, or another one")]
    Mark {
        /// The mark.
        mark: u32,
        /// The mask.
        mask: u32,
    },
    /// A table.
    #[error("{0} is one of the kernel's own routing tables")]
    Table(u32),
    /// A route.
    #[error("the way to {destination} is by no router like {gateway}, an address of another family")]
    Route {
        /// Where to.
        destination: IpNet,
        /// The router.
        gateway: IpAddr,
    },
    /// A priority.
    #[error("a routing rule of priority {0} is no rule before the main table's")]
    Priority(u32),
}

impl Wanted {
    /// Whether nothing in it could be taken for something else by the programs that get it.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), WantedError> {
        let names = self.other_interfaces.iter().chain([&self.interface.name]);
        if let Some(wrong) = names.into_iter().find(|name| !is_interface_name(name)) {
            return Err(WantedError::Interface(wrong.clone()));
        }
        let Some(path) = &self.return_path else { return Ok(()) };
        check_rule(path.rule(Family::V4))?;
        path.routes.iter().try_for_each(Route::check)
    }

    /// The address families that there is anything for. A plane that has nothing yet is waiting for IPv4 addresses.
    #[must_use]
    pub fn families(&self) -> BTreeSet<Family> {
        let routes = self.return_path.iter().flat_map(|path| &path.routes).map(Route::family);
        let mut families: BTreeSet<_> =
            self.addresses.keys().copied().map(Family::of).chain(routes).collect();
        if families.is_empty() {
            families.insert(Family::V4);
        }
        families
    }
}

impl Route {
    /// The address family of what it leads to.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.destination.addr())
    }

    fn check(&self) -> Result<(), WantedError> {
        let Self { destination, gateway } = *self;
        match gateway {
            Some(gateway) if Family::of(gateway) != self.family() => {
                Err(WantedError::Route { destination, gateway })
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Message {
    /// Reads a line from the announcer.
    ///
    /// # Errors
    /// What is wrong with it: nothing of it counts then.
    pub fn read(line: &[u8]) -> Result<Self, MessageError> {
        let mut message: Self = serde_json::from_slice(line)?;
        if let Some(wanted) = &mut message.wanted {
            wanted.check()?;
            // An announcer does that too; that it did is not relied on.
            wanted.bound();
        }
        Ok(message)
    }
}

/// Whether a rule, and the table that it leads to, can be ours.
pub(crate) fn check_rule(rule: MarkRule) -> Result<(), WantedError> {
    let MarkRule { mark, mask, table, priority, .. } = rule;
    if mark & mask != mark || mark == 0 {
        return Err(WantedError::Mark { mark, mask });
    }
    if RESERVED_TABLES.contains(&table) {
        return Err(WantedError::Table(table));
    }
    if !(1..MAIN_PRIORITY).contains(&priority) {
        return Err(WantedError::Priority(priority));
    }
    Ok(())
}

/// The kernel allows more; what is common is enough.
pub(crate) fn is_interface_name(name: &str) -> bool {
    let is_common = |octet: u8| octet.is_ascii_alphanumeric() || b"._-@:".contains(&octet);
    (1..=15).contains(&name.len()) && name.bytes().all(is_common)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_that_could_be_more_than_names_are_refused() {
        for name in ["", "eth1\"", "eth1; drop", "eth1\n", "an-interface-too-long", "eth 1", "/"] {
            let interface = Interface { name: name.into(), index: 3, mac: None };
            let wanted = Wanted { interface, ..wanted() };
            assert_eq!(wanted.check(), Err(WantedError::Interface(name.into())));
        }
        assert_eq!(wanted().check(), Ok(()));
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_reason() {
        assert_eq!(Message::read(br#"{"planes": [], "wanted": null}"#).unwrap(), Message::default());
        let error = Message::read(b"{").unwrap_err().to_string();
        assert!(error.contains("one release"), "{error}");
    }

    #[test]
    fn marks_tables_and_priorities_of_others_are_refused() {
        let with = |change: &dyn Fn(&mut ReturnPath)| {
            let mut wanted = wanted();
            change(wanted.return_path.as_mut().unwrap());
            wanted.check().unwrap_err().to_string()
        };
        assert!(with(&|path| path.mark = 0).contains("0x0"));
        assert!(with(&|path| path.mark = 0x5000).contains("0x5000"));
        assert!(with(&|path| path.table = 254).contains("254"));
        assert!(with(&|path| path.priority = 32766).contains("32766"));
    }

    #[test]
    fn routers_of_another_family_than_what_they_lead_to_are_refused() {
        for (destination, gateway, is_right) in [
            ("0.0.0.0/0", "203.0.113.1", true),
            ("::/0", "fe80::1", true),
            ("0.0.0.0/0", "fe80::1", false),
            ("::/0", "203.0.113.1", false),
        ] {
            let routes = [route(destination, Some(gateway))].into();
            assert_eq!(with_routes(routes).check().is_ok(), is_right, "{destination} by {gateway}");
        }
    }

    #[test]
    fn a_family_is_there_for_its_addresses_or_routes_and_without_any_it_is_ipv4() {
        let of = |addresses: &[&str], routes: &[&str]| -> Vec<Family> {
            let routes = routes.iter().map(|destination| route(destination, None)).collect();
            let addresses = addresses.iter().map(|address| (address.parse().unwrap(), Address::default()));
            let wanted = Wanted { addresses: addresses.collect(), ..with_routes(routes) };
            wanted.families().into_iter().collect()
        };
        assert_eq!(of(&[], &[]), [Family::V4]);
        assert_eq!(of(&["203.0.113.50"], &["203.0.113.0/24"]), [Family::V4]);
        assert_eq!(of(&["2001:db8::50"], &[]), [Family::V6]);
        assert_eq!(of(&["2001:db8::50"], &["203.0.113.0/24"]), Family::ALL);
        assert_eq!(of(&["203.0.113.50", "2001:db8::50"], &[]), Family::ALL);
    }

    #[test]
    fn what_an_announcer_of_another_release_says_of_ipv4_is_understood() {
        let said = json!({
            "interface": {"name": "enp3s0.7", "index": 3},
            "other_interfaces": [],
            "addresses": {"203.0.113.50": {"services": [["Tcp", 80]], "sources": ["10.0.0.0/8"]}},
            "guard": "Drop",
            "return_path": {
                "mark": 4096, "mask": 12288, "table": 7401, "priority": 7400,
                "routes": [{"destination": "0.0.0.0/0", "gateway": "203.0.113.1"}],
            },
        });
        let wanted: Wanted = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(wanted.families(), BTreeSet::from([Family::V4]));
        assert_eq!(serde_json::to_value(&wanted).unwrap(), said);
    }

    fn route(destination: &str, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        Route { destination: destination.parse().unwrap(), gateway }
    }

    fn with_routes(routes: BTreeSet<Route>) -> Wanted {
        let path = wanted().return_path.unwrap();
        Wanted { return_path: Some(ReturnPath { routes, ..path }), ..wanted() }
    }

    fn wanted() -> Wanted {
        Wanted {
            interface: Interface { name: "enp3s0.7".into(), index: 3, mac: None },
            other_interfaces: BTreeSet::new(),
            addresses: BTreeMap::new(),
            guard: None,
            return_path: Some(ReturnPath {
                mark: 0x1000,
                mask: 0x3000,
                table: 7401,
                priority: 7400,
                routes: BTreeSet::new(),
            }),
        }
    }
}
