//! What stands in the way of a return path, though nothing of ours is wrong.

use std::{fs, path::Path};

use crate::wanted::{Finding, ReturnPath, Wanted};

/// Cilium's own interface: with it packets can pass by nftables.
const CILIUM: &str = "cilium_host";

/// The settings of the node that matter, as `/proc/sys` and `/sys` tell; none where that does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    forwards: Option<u32>,
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
            forwards: number(Path::new("/proc/sys/net/ipv4/ip_forward")),
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
        let mut findings = Vec::new();
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
        if self.filter_of_all == Some(1) {
            let message = format!(
                "net.ipv4.conf.all.rp_filter is 1: the kernel drops requests that come in by {interface} from where its main \
                 routing table leads elsewhere; set it to 0 or 2"
            );
            find("ReversePathFilter", message);
        }
        if self.marks_of_all == Some(1) && !self.strict.is_empty() {
            let message = format!(
                "net.ipv4.conf.all.src_valid_mark is 1 and rp_filter is 1 on {}: the kernel drops replies that come from there; \
                 set one of them to 0",
                self.strict.join(", ")
            );
            find("ReversePathFilter", message);
        }
        if self.forwards == Some(0) {
            find(
                "NoForwarding",
                "net.ipv4.ip_forward is 0: replies of Pods are not forwarded; set it to 1".to_owned(),
            );
        }
        if !has_default(path) {
            let message = "no DHCP lease names a router, nor does returnPath.gateway: clients beyond the plane's own network \
                           get no replies";
            find("NoGateway", message.to_owned());
        }
        findings
    }
}

fn has_default(path: &ReturnPath) -> bool {
    path.routes.iter().any(|route| route.gateway.is_some() && route.destination.prefix_len() == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::wanted::{Interface, Route};

    #[test]
    fn what_stands_in_the_way_is_named_with_the_remedy() {
        let good = Settings { forwards: Some(1), filter_of_all: Some(2), ..Settings::default() };
        let reasons = |settings: &Settings| -> Vec<String> {
            settings.findings(&wanted(true)).into_iter().map(|finding| finding.reason).collect()
        };
        assert_eq!(reasons(&good), [""; 0]);
        assert_eq!(reasons(&Settings { filter_of_all: Some(1), ..good.clone() }), ["ReversePathFilter"]);
        let marks = Settings { marks_of_all: Some(1), ..good.clone() };
        assert_eq!(reasons(&marks), [""; 0]);
        assert_eq!(reasons(&Settings { strict: vec!["eth0".into()], ..marks }), ["ReversePathFilter"]);
        assert_eq!(reasons(&Settings { forwards: Some(0), ..good.clone() }), ["NoForwarding"]);
        assert_eq!(reasons(&Settings { bypassed: true, ..good.clone() }), ["DatapathBypassed"]);
        assert_eq!(good.findings(&wanted(false)).len(), 1, "no gateway");
    }

    #[test]
    fn a_guard_alone_needs_none_of_these_settings() {
        let bad = Settings { forwards: Some(0), filter_of_all: Some(1), ..Settings::default() };
        assert_eq!(bad.findings(&Wanted { return_path: None, ..wanted(true) }), []);
    }

    fn wanted(gateway: bool) -> Wanted {
        let gateway = gateway.then_some([203, 0, 113, 1].into());
        let route = Route { destination: "0.0.0.0/0".parse().unwrap(), gateway };
        let path = ReturnPath { mark: 1, mask: 1, table: 9, priority: 9, routes: BTreeSet::from([route]) };
        Wanted {
            interface: Interface { name: "eth1".into(), index: 3 },
            other_interfaces: BTreeSet::new(),
            addresses: BTreeMap::new(),
            guard: None,
            return_path: Some(path),
        }
    }
}
