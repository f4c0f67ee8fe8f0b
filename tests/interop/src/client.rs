//! A DHCP client of the node's own.

use std::{fs, net::Ipv4Addr, time::Duration};

use foghorn_lab::{Daemon, Host, until};

/// udhcpc on a host's `eth0`; it ends with its host.
#[derive(Clone, Copy, Debug)]
pub struct NodesOwnClient<'a> {
    host: &'a Host,
}

const NAME: &str = "udhcpc";
const SCRIPT: &str = "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/24 dev $interface\nexit 0\n";

impl<'a> NodesOwnClient<'a> {
    /// Starts it.
    #[must_use]
    pub fn start(host: &'a Host) -> Self {
        let script = host.dir().join("udhcpc.sh");
        fs::write(&script, SCRIPT).unwrap();
        let script = script.display().to_string();
        host.exec(&["chmod", "+x", &script]).unwrap();
        Daemon::new(host, NAME).start(&["busybox", NAME, "-f", "-i", "eth0", "-s", &script]).unwrap();
        Self { host }
    }

    /// The address that it got.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        let log = Daemon::new(self.host, NAME).log_file();
        until("a lease of the node's own client", Duration::from_secs(20), || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let lease = log.split_once("lease of ").and_then(|(_, rest)| rest.split(' ').next());
            Ok(lease.and_then(|address| address.parse().ok()))
        })
        .unwrap()
    }

    /// Has it renew its lease now.
    pub fn renew(self) {
        let process = Daemon::new(self.host, NAME).check().unwrap();
        self.host.exec(&["kill", "-USR1", &process.to_string()]).unwrap();
    }
}
