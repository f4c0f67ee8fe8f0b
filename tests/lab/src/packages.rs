//! What the lab needs of Debian.

use crate::{
    command::{command, run},
    error::Result,
};

/// Each package, and what the lab does with it.
const PACKAGES: [(&str, &str); 17] = [
    ("buildah", "builds the images"),
    ("busybox-static", "is in the test images"),
    ("conntrack", "kube-proxy"),
    ("containerd", "runs the containers"),
    ("containernetworking-plugins", "connect the Pods"),
    ("curl", "asks from the clients"),
    ("dnsmasq-base", "the DHCP servers"),
    ("golang-github-containers-common", "buildah's policy file"),
    ("iproute2", "makes the network"),
    ("iptables", "the Pods' masquerading"),
    ("iputils-arping", "asks who has an address"),
    ("iputils-ping", "asks from the clients"),
    ("libcap2-bin", "gives the announcer its file capability"),
    ("miniupnpd-nftables", "port forwarding of the gateway"),
    ("nftables", "kube-proxy, gateways and faults"),
    ("runc", "runs the containers"),
    ("tcpdump", "watches the wire"),
];

/// Installs the Debian packages that are missing, and says which.
///
/// # Errors
/// If apt-get fails.
pub fn install_missing() -> Result<()> {
    let wanted = || PACKAGES.iter().map(|(name, _)| *name);
    let query: Vec<_> =
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n"].into_iter().chain(wanted()).collect();
    // It ends with an error if it has never heard of one of them; what it has heard of is on its output all the same.
    let output =
        command(&query).output().map_err(crate::Error::io("running dpkg-query: the lab wants Debian"))?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing: Vec<_> =
        wanted().filter(|name| !output.lines().any(|line| line == format!("{name} installed"))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing the Debian packages that the lab needs:");
    for (name, purpose) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        println!("  {name}: {purpose}");
    }
    run(&mut command(&["apt-get", "update", "-q"]))?;
    let install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"];
    let install: Vec<_> = install.into_iter().chain(missing).collect();
    run(command(&install).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}
