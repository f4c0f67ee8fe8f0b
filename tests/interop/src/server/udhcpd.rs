//! udhcpd of busybox: cheap routers and access points. It knows its clients by hardware address only.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use foghorn_lab::{Daemon, Host, Lease, Result, until};
use k8s_openapi::jiff::Timestamp;

use super::{Refuses, Scope, Server, malformed, serve, write};

/// `udhcpd`.
#[derive(Debug)]
pub struct Udhcpd(Host);

impl Server for Udhcpd {
    const NAME: &'static str = "udhcpd";
    const REFUSES: Refuses = Refuses::Rebooting;
    const NAME_FROM_FQDN: Option<&'static str> = None;

    fn on(host: Host) -> Self {
        Self(host)
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn start(&self, scope: &Scope) -> Result<()> {
        let config = self.0.dir().join("udhcpd.conf");
        write(&config, &self.config(scope))?;
        let config = config.display().to_string();
        serve(&self.0, Self::NAME, &["udhcpd", "-f", "-a", "200", &config])
    }

    /// It writes its leases when it is told to, with the time at which it did.
    fn records(&self) -> Result<Vec<Lease>> {
        let file = self.lease_file().display().to_string();
        if let Some(process) = Daemon::new(&self.0, Self::NAME).pid() {
            let modified = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
            let before = modified();
            self.0.exec(&["kill", "-USR1", &process.to_string()])?;
            until("udhcpd has written its leases", Duration::from_secs(5), || {
                Ok((modified() != before && !has_open(process, Path::new(&file))).then_some(()))
            })?;
        }
        let dump = self.0.exec(&["dumpleases", "-d", "-f", &file])?;
        let lines = dump.lines().skip(1);
        lines.map(|line| lease(line).ok_or_else(|| malformed("the output of dumpleases", line))).collect()
    }
}

impl Udhcpd {
    fn config(&self, scope: &Scope) -> String {
        let router = scope.network.gateway();
        let (first, last) = scope.addresses();
        let Scope { lease, renew, rebind, .. } = scope;
        let reservation = |(mac, address): &(String, Ipv4Addr)| format!("static_lease {mac} {address}\n");
        let reservations: String = scope.reservations.iter().map(reservation).collect();
        let file = self.lease_file();
        let file = file.display();
        let route = scope.route.map_or_else(String::new, |(network, gateway)| {
            format!("option staticroutes {network} {gateway}\n")
        });
        format!(
            "interface eth0
start {first}
end {last}
min_lease 10
lease_file {file}
pidfile {file}.pid
option subnet 255.255.255.0
option router {router}
option hostname anything
option lease {lease}
option 0x3a {renew:08x}
option 0x3b {rebind:08x}
{route}{reservations}"
        )
    }
}

/// Whether a process is still at a file: what it writes piece by piece is not to be read in between.
fn has_open(process: i32, file: &Path) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"));
    let mut descriptors = descriptors.into_iter().flatten().flatten();
    descriptors.any(|descriptor| std::fs::read_link(descriptor.path()).is_ok_and(|open| open == file))
}

/// `02:0f:… 203.0.113.50 web-default 17` or `… expired`; the name may be missing.
fn lease(line: &str) -> Option<Lease> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (mac, address, name, left) = match fields.as_slice() {
        [mac, address, left] => (mac, address, None, left),
        [mac, address, name, left] => (mac, address, Some((*name).to_owned()), left),
        _ => return None,
    };
    let left: u64 = if *left == "expired" { 0 } else { left.parse().ok()? };
    // What a client declined is nobody's.
    let over = left == 0 || *mac == "00:00:00:00:00:00";
    let now = u64::try_from(Timestamp::now().as_second()).ok()?;
    Some(Lease {
        expiry: if over { 0 } else { now + left },
        mac: (*mac).to_owned(),
        address: address.parse().ok()?,
        host_name: name,
        client_id: None,
    })
}
