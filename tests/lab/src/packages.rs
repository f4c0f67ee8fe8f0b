//! What the lab needs of Debian.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    command::{command, run, write},
    error::{Error, Result},
    progress::say,
};

/// Each package, and what the lab does with it.
const PACKAGES: [(&str, &str); 18] = [
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
    ("miniupnpc", "lists what the gateway forwards"),
    ("miniupnpd-nftables", "port forwarding of the gateway"),
    ("nftables", "kube-proxy, gateways and faults"),
    ("runc", "runs the containers"),
    ("tcpdump", "watches the wire"),
];

/// Installs the Debian packages that the lab needs and that are missing.
///
/// # Errors
/// If apt-get fails.
pub fn install_missing() -> Result<()> {
    install("the lab", &PACKAGES)
}

/// Installs those of these Debian packages that are missing, and says which, and what they are good for. No service of
/// theirs is started.
///
/// # Errors
/// If apt-get fails.
pub fn install(who: &str, packages: &[(&str, &str)]) -> Result<()> {
    let wanted = || packages.iter().map(|(name, _)| *name);
    let query: Vec<_> =
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n"].into_iter().chain(wanted()).collect();
    // It ends with an error if it has never heard of one of them; what it has heard of is on its output all the same.
    let output = command(&query).output().map_err(Error::io("running dpkg-query: the lab wants Debian"))?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let missing: Vec<_> =
        wanted().filter(|name| !output.lines().any(|line| line == format!("{name} installed"))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing the Debian packages that {who} needs:"));
    for (name, purpose) in packages.iter().filter(|(name, _)| missing.contains(name)) {
        say(&format!("  {name}: {purpose}"));
    }
    run(&mut command(&["apt-get", "update", "-q"]))?;
    let _policy = NoServices::start()?;
    let patient = "-oDPkg::Lock::Timeout=300";
    let install = ["apt-get", "install", patient, "-q", "-y", "--no-install-recommends"];
    let install: Vec<_> = install.into_iter().chain(missing).collect();
    run(command(&install).env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Where Debian asks whether a service may be started.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While it lives, what is installed is not started; a policy that this computer has already stays in force.
struct NoServices {
    made: bool,
}

impl NoServices {
    fn start() -> Result<Self> {
        let policy = Path::new(POLICY);
        let made = !policy.exists();
        if made {
            write(policy, "#!/bin/sh\nexit 101\n")?;
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(policy, executable)
                .map_err(Error::io(format!("making {POLICY} executable")))?;
        }
        Ok(Self { made })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made {
            // Nothing can be done about it here; the next installation finds it and leaves it.
            let _stays = fs::remove_file(POLICY);
        }
    }
}
