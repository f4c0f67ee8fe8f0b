//! What stands in the way of a return path, though nothing of ours is wrong.

use std::{collections::BTreeMap, fs, path::Path};

use foghorn_netio::Family;

use crate::{
    bounds::{ENTRIES_MAX, PORTS_MAX, SOURCES_MAX},
    wanted::{Finding, ReturnPath, Route, Wanted},
};

/// Cilium's own interface: with it packets can pass by nftables.
const CILIUM: &str = "cilium_host";
/// So many addresses are named in a finding.
const FEW: usize = 3;

/// The settings of the node that matter, as `/proc/sys` and `/sys` tell; none where that does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    forwards: BTreeMap<Family, u32>,
    filter_of_all: Option<u32>,
    filter_of_interface: Option<u32>,
    marks_of_all: Option<u32>,
    /// Other interfaces whose reverse-path filter is strict.
    strict: Vec<String>,
    bypassed: bool,
}

impl Settings {
    /// Reads them.
    #[must_use]
    pub fn read(interface: &str) -> Self {
        let conf = Path::new("/proc/sys/net/ipv4/conf");
        let number = |path: &Path| -> Option<u32> { fs::read_to_string(path).ok()?.trim().parse().ok() };
        let forwards = |family| {
            let path = Path::new("/proc/sys").join(forwarding(family).replace('.', "/"));
            Some((family, number(&path)?))
        };
        let setting = |of: &str, name: &str| number(&conf.join(of).join(name));
        let interfaces = fs::read_dir(conf).into_iter().flatten().flatten();
        let others = interfaces.filter_map(|entry| entry.file_name().into_string().ok());
        let is_strict = |name: &String| {
            !["all", "default", "lo", interface].contains(&name.as_str())
                && setting(name, "rp_filter") == Some(1)
        };
        let mut strict: Vec<_> = others.filter(is_strict).collect();
        strict.sort();
        Self {
            forwards: Family::ALL.into_iter().filter_map(forwards).collect(),
            filter_of_all: setting("all", "rp_filter"),
            filter_of_interface: setting(interface, "rp_filter"),
            marks_of_all: setting("all", "src_valid_mark"),
            strict,
            bypassed: Path::new("/sys/class/net").join(CILIUM).exists(),
        }
    }

    /// The interface's own reverse-path filter.
    #[must_use]
    pub const fn filter(&self) -> Option<u32> {
        self.filter_of_interface
    }

    /// What there is to say of them.
    #[must_use]
    pub fn findings(&self, wanted: &Wanted) -> Vec<Finding> {
        let mut findings: Vec<_> = without_room(wanted).into_iter().collect();
        let mut find = |reason: &str, message: String| {
            findings.push(Finding { reason: reason.to_owned(), message });
        };
        if self.bypassed {
            let message = "Cilium is here, whose eBPF programs can lead packets past nftables: returnPath and guard are not \
                           supported with it";
            find("DatapathBypassed", message.to_owned());
        }
        let Some(path) = &wanted.return_path else { return findings };
        let interface = &wanted.interface.name;
        let families = wanted.families();
        // There is no such filter for IPv6.
        let is_filtered = families.contains(&Family::V4);
        if is_filtered && self.filter_of_all == Some(1) {
            let message = format!(
                "net.ipv4.conf.all.rp_filter is 1: the kernel drops requests that come in by {interface} from where its main \
                 routing table leads elsewhere; set it to 0 or 2"
            );
            find("ReversePathFilter", message);
        }
        if is_filtered && self.marks_of_all == Some(1) && !self.strict.is_empty() {
            let message = format!(
                "net.ipv4.conf.all.src_valid_mark is 1 and rp_filter is 1 on {}: the kernel drops replies that come from there; \
                 set one of them to 0",
                self.strict.join(", ")
            );
            find("ReversePathFilter", message);
        }
        for family in families {
            if self.forwards.get(&family) == Some(&0) {
                let setting = forwarding(family);
                let message = format!("{setting} is 0: replies of Pods are not forwarded; set it to 1");
                find("NoForwarding", message);
            }
            if !has_default(path, family) {
                let missing = no_router(family);
                let message = format!("{missing}: clients beyond the plane's own network get no replies");
                find("NoGateway", message);
            }
        }
        findings
    }
}

/// Which addresses the guard closes for want of room.
fn without_room(wanted: &Wanted) -> Option<Finding> {
    let closed: Vec<_> = wanted.closed().map(|address| address.to_string()).collect();
    let (first, rest) = closed.split_at(closed.len().min(FEW));
    if first.is_empty() {
        return None;
    }
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let message = format!(
        "no port is open at {}{more}: an address has room for {PORTS_MAX} ports and {SOURCES_MAX} source ranges, all \
         addresses of a plane for {ENTRIES_MAX} together; merge source ranges or use another plane",
        first.join(", ")
    );
    Some(Finding { reason: "GuardFull".to_owned(), message })
}

/// The setting without which the node forwards nothing of the family.
const fn forwarding(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    }
}

const fn no_router(family: Family) -> &'static str {
    match family {
        Family::V4 => "no DHCP lease names a router, nor does returnPath.gateway",
        Family::V6 => "no router is known for IPv6",
    }
}

fn has_default(path: &ReturnPath, family: Family) -> bool {
    let is_default = |route: &&Route| route.gateway.is_some() && route.destination.prefix_len() == 0;
    path.routes.iter().filter(is_default).any(|route| route.family() == family)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wanted::{Address, Interface};

    #[test]
    fn what_stands_in_the_way_is_named_with_the_remedy() {
        let good = Settings { forwards: forwards(1, 1), filter_of_all: Some(2), ..Settings::default() };
        let reasons = |settings: &Settings| -> Vec<String> {
            settings.findings(&wanted(true)).into_iter().map(|finding| finding.reason).collect()
        };
        assert_eq!(reasons(&good), [""; 0]);
        assert_eq!(reasons(&Settings { filter_of_all: Some(1), ..good.clone() }), ["ReversePathFilter"]);
        let marks = Settings { marks_of_all: Some(1), ..good.clone() };
        assert_eq!(reasons(&marks), [""; 0]);
        assert_eq!(reasons(&Settings { strict: vec!["eth0".into()], ..marks }), ["ReversePathFilter"]);
        assert_eq!(reasons(&Settings { forwards: forwards(0, 1), ..good.clone() }), ["NoForwarding"]);
        assert_eq!(reasons(&Settings { forwards: forwards(1, 0), ..good.clone() }), [""; 0], "none of IPv6");
        assert_eq!(reasons(&Settings { bypassed: true, ..good.clone() }), ["DatapathBypassed"]);
        assert_eq!(good.findings(&wanted(false)).len(), 1, "no gateway");
    }

    #[test]
    fn a_guard_alone_needs_none_of_these_settings() {
        let bad = Settings { forwards: forwards(0, 0), filter_of_all: Some(1), ..Settings::default() };
        assert_eq!(bad.findings(&Wanted { return_path: None, ..wanted(true) }), []);
    }

    #[test]
    fn addresses_without_room_are_named() {
        let mut wanted = Wanted { return_path: None, ..wanted(true) };
        let closed = Address { closed: true, ..Address::default() };
        let addresses = (50..55).map(|last| (std::net::IpAddr::from([203, 0, 113, last]), closed.clone()));
        wanted.addresses = addresses.collect();
        let findings = Settings::default().findings(&wanted);
        let [Finding { reason, message }] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(reason, "GuardFull");
        assert!(message.contains("203.0.113.50, 203.0.113.51, 203.0.113.52 and 2 more"), "{message}");
    }

    #[test]
    fn a_plane_of_ipv6_needs_what_is_of_ipv6() {
        let messages = |settings: &Settings, routes: &[Route]| -> Vec<String> {
            let path =
                ReturnPath { routes: routes.iter().copied().collect(), ..wanted(true).return_path.unwrap() };
            let addresses = [("2001:db8::50".parse().unwrap(), Address::default())].into();
            let wanted = Wanted { addresses, return_path: Some(path), ..wanted(true) };
            settings.findings(&wanted).into_iter().map(|finding| finding.message).collect()
        };
        let way = Route { destination: "::/0".parse().unwrap(), gateway: Some("fe80::1".parse().unwrap()) };
        let good = Settings { forwards: forwards(0, 1), filter_of_all: Some(1), ..Settings::default() };
        assert_eq!(messages(&good, &[way]), [""; 0]);
        let told = messages(&Settings { forwards: forwards(1, 0), ..good }, &[]);
        let [forwarding, router] = told.as_slice() else { panic!("{told:?}") };
        assert!(forwarding.starts_with("net.ipv6.conf.all.forwarding is 0"), "{forwarding}");
        assert!(router.contains("IPv6"), "{router}");
    }

    fn forwards(of_ipv4: u32, of_ipv6: u32) -> BTreeMap<Family, u32> {
        [(Family::V4, of_ipv4), (Family::V6, of_ipv6)].into()
    }

    fn wanted(gateway: bool) -> Wanted {
        let gateway = gateway.then_some([203, 0, 113, 1].into());
        let route = Route { destination: "0.0.0.0/0".parse().unwrap(), gateway };
        let path = ReturnPath { mark: 1, mask: 1, table: 9, priority: 9, routes: BTreeSet::from([route]) };
        Wanted {
            interface: Interface { name: "eth1".into(), index: 3, mac: None },
            other_interfaces: BTreeSet::new(),
            addresses: BTreeMap::new(),
            guard: None,
            return_path: Some(path),
        }
    }
}
