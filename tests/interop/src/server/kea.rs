//! Kea, with its leases in a file.

use foghorn_lab::{Host, Lease, Result};

use super::{Refuses, Scope, Server, malformed, read, serve, write};

/// `kea-dhcp4`.
#[derive(Debug)]
pub struct Kea(Host);

impl Server for Kea {
    const NAME: &'static str = "kea";
    const REFUSES: Refuses = Refuses::Rebooting;
    const NAME_FROM_FQDN: Option<&'static str> = Some("web.example.com.");

    fn on(host: Host) -> Self {
        Self(host)
    }

    fn host(&self) -> &Host {
        &self.0
    }

    fn start(&self, scope: &Scope) -> Result<()> {
        let config = self.0.dir().join("kea.json");
        write(&config, &self.config(scope))?;
        let dir = self.0.dir().display();
        let folders = ["KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR"].map(|name| format!("{name}={dir}"));
        let config = config.display().to_string();
        let [pid, lock] = folders.each_ref().map(String::as_str);
        serve(&self.0, Self::NAME, &["env", pid, lock, "kea-dhcp4", "-d", "-c", &config])
    }

    fn records(&self) -> Result<Vec<Lease>> {
        let mut records: Vec<Lease> = Vec::new();
        for line in read(&self.lease_file())?.lines().skip(1) {
            let record = lease(line).ok_or_else(|| malformed("a line of Kea's lease file", line))?;
            records.retain(|earlier| earlier.address != record.address);
            records.push(record);
        }
        Ok(records)
    }
}

impl Kea {
    fn config(&self, scope: &Scope) -> String {
        let reservation = |(mac, address): &(String, _)| {
            format!(r#"{{ "hw-address": "{mac}", "ip-address": "{address}" }}"#)
        };
        let reservations = scope.reservations.iter().map(reservation).collect::<Vec<_>>().join(", ");
        let hex = |octets: Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let route = scope.encoded_route().map_or_else(String::new, |route| {
            format!(r#", {{ "code": 121, "csv-format": false, "data": "{}" }}"#, hex(route))
        });
        let (network, router) = (scope.network.cidr(), scope.network.gateway());
        let (first, last) = scope.addresses();
        let Scope { lease, renew, rebind, .. } = scope;
        let match_client_id = !scope.ignores_client_ids;
        let file = self.lease_file();
        let file = file.display();
        format!(
            r#"{{ "Dhcp4": {{
  "interfaces-config": {{ "interfaces": ["eth0"] }},
  "lease-database": {{ "type": "memfile", "name": "{file}", "lfc-interval": 0 }},
  "valid-lifetime": {lease}, "renew-timer": {renew}, "rebind-timer": {rebind},
  "authoritative": true, "match-client-id": {match_client_id},
  "option-data": [
    {{ "name": "routers", "data": "{router}" }},
    {{ "name": "host-name", "data": "anything", "always-send": true }}{route}
  ],
  "subnet4": [{{
    "subnet": "{network}",
    "pools": [{{ "pool": "{first} - {last}" }}],
    "reservations": [{reservations}]
  }}],
  "loggers": [{{
    "name": "kea-dhcp4", "severity": "DEBUG", "debuglevel": 55,
    "output_options": [{{ "output": "stdout" }}]
  }}]
}} }}
"#
        )
    }
}

fn lease(line: &str) -> Option<Lease> {
    let fields: Vec<_> = line.split(',').collect();
    let [address, mac, client_id, lifetime, expiry, _subnet, _forward, _reverse, name, state, ..] =
        fields.as_slice()
    else {
        return None;
    };
    let known = |field: &str| (!field.is_empty()).then(|| field.to_owned());
    // Released: no time is left of it. Declined: it is nobody's.
    let in_force = *lifetime != "0" && *state == "0";
    Some(Lease {
        expiry: if in_force { expiry.parse().ok()? } else { 0 },
        mac: (*mac).to_owned(),
        address: address.parse().ok()?,
        host_name: known(name),
        client_id: known(client_id),
    })
}
