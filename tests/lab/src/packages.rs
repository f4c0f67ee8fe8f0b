//! What the lab needs of Debian: the programs it runs, and the packages that have them.

mod apt;

use std::path::Path;

pub use apt::{Apt, without_services};

use crate::{
    command::command,
    daemon::PROGRAMS,
    error::{Error, Result},
    progress::say,
};

/// Something that has to be installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    package: &'static str,
    /// Without any, only the package itself shows that it is there.
    shown_by: &'static [&'static str],
    purpose: &'static str,
}

impl Need {
    /// Programs, by their names or as absolute paths, whichever package has them; `package` is Debian's.
    #[must_use]
    pub const fn programs(
        package: &'static str,
        shown_by: &'static [&'static str],
        purpose: &'static str,
    ) -> Self {
        Self { package, shown_by, purpose }
    }

    /// This very package: other packages have programs of the same names that do something else.
    #[must_use]
    pub const fn package(package: &'static str, purpose: &'static str) -> Self {
        Self { package, shown_by: &[], purpose }
    }

    fn is_met(&self, is_file: impl Fn(&Path) -> bool, installed: &[String]) -> bool {
        // An absolute path joined to a directory is the path itself.
        let is_there = |program| PROGRAMS.split(':').any(|dir| is_file(&Path::new(dir).join(program)));
        match self.shown_by {
            [] => installed.iter().any(|package| package == self.package),
            programs => programs.iter().all(is_there),
        }
    }
}

/// Each package, and what the lab does with it.
const NEEDS: [Need; 18] = [
    Need::programs("buildah", &["buildah"], "builds the images"),
    // Debian's other busybox is not static.
    Need::package("busybox-static", "is in the test images"),
    Need::programs("conntrack", &["conntrack"], "kube-proxy"),
    Need::programs("containerd", &["containerd", "ctr"], "runs the containers"),
    Need::programs(
        "containernetworking-plugins",
        &["/usr/lib/cni/ptp", "/usr/lib/cni/host-local", "/usr/lib/cni/portmap"],
        "connect the Pods",
    ),
    Need::programs("curl", &["curl"], "asks from the clients"),
    Need::programs("dnsmasq-base", &["dnsmasq"], "the DHCP servers"),
    Need::programs(
        "golang-github-containers-common",
        &["/etc/containers/policy.json"],
        "buildah's policy file",
    ),
    Need::programs("iproute2", &["ip", "ss"], "makes the network"),
    Need::programs("iptables", &["iptables"], "the Pods' masquerading"),
    // The package `arping` has another program of that name.
    Need::package("iputils-arping", "asks who has an address"),
    Need::programs("iputils-ping", &["ping"], "asks from the clients"),
    Need::programs("libcap2-bin", &["setcap"], "gives the announcer its file capability"),
    Need::programs("miniupnpc", &["upnpc"], "lists what the gateway forwards"),
    // The package `miniupnpd-iptables` has another program of that name.
    Need::package("miniupnpd-nftables", "port forwarding of the gateway"),
    Need::programs("nftables", &["nft"], "kube-proxy, gateways and faults"),
    Need::programs("runc", &["runc"], "runs the containers"),
    Need::programs("tcpdump", &["tcpdump"], "watches the wire"),
];

/// Installs what the lab needs and what is missing.
///
/// # Errors
/// As [`install`].
pub fn install_missing() -> Result<()> {
    install("the lab", &NEEDS)
}

/// Installs the Debian packages for what is missing, and says which, and what they are good for. Other packages stay, and no
/// service is started or enabled; see [`Apt::install`].
///
/// # Errors
/// [`Error::WouldRemove`], or if apt-get fails.
pub fn install(who: &str, needs: &[Need]) -> Result<()> {
    let missing = missing(needs, Path::is_file, &installed(needs)?);
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing the Debian packages that {who} needs:"));
    for Need { package, purpose, .. } in &missing {
        say(&format!("  {package}: {purpose}"));
    }
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    let apt = Apt::new();
    apt.update()?;
    apt.install(&packages)
}

fn missing(needs: &[Need], is_file: impl Fn(&Path) -> bool + Copy, installed: &[String]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_met(is_file, installed)).collect()
}

/// Those of the packages that are installed.
fn installed(needs: &[Need]) -> Result<Vec<String>> {
    let packages = needs.iter().map(|need| need.package);
    let query = ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n"];
    let query: Vec<_> = query.into_iter().chain(packages).collect();
    // It ends with an error if it has never heard of one of them; what it has heard of is on its output all the same.
    let output = command(&query).output().map_err(Error::io("running dpkg-query: the lab needs Debian"))?;
    let output = String::from_utf8_lossy(&output.stdout);
    Ok(output.lines().filter_map(|line| line.strip_suffix(" installed")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINERD: Need = Need::programs("containerd", &["containerd", "ctr"], "");
    const PLUGINS: Need = Need::programs("plugins", &["/usr/lib/cni/ptp"], "");
    const BUSYBOX: Need = Need::package("busybox-static", "");

    fn missing_with(files: &[&str], installed: &[&str]) -> Vec<Need> {
        let is_file = |path: &Path| files.iter().any(|file| Path::new(file) == path);
        let installed: Vec<_> = installed.iter().map(|&name| name.to_owned()).collect();
        missing(&[CONTAINERD, PLUGINS, BUSYBOX], is_file, &installed)
    }

    #[test]
    fn programs_of_another_package_serve_as_well() {
        let files = ["/usr/bin/containerd", "/usr/local/sbin/ctr", "/usr/lib/cni/ptp"];
        assert_eq!(missing_with(&files, &["containerd.io"]), [BUSYBOX]);
    }

    #[test]
    fn each_program_of_a_package_has_to_be_there() {
        let files = ["/usr/bin/containerd", "/usr/bin/ptp", "/usr/bin/busybox"];
        assert_eq!(missing_with(&files, &["containerd", "busybox-static"]), [CONTAINERD, PLUGINS]);
    }

    #[test]
    fn a_program_in_sbin_is_found() {
        let files = ["/usr/sbin/containerd", "/sbin/ctr", "/usr/lib/cni/ptp"];
        assert_eq!(missing_with(&files, &["busybox-static"]), []);
    }
}
