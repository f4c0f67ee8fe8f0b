//! Many Services, and what comes of their claims.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use foghorn_lab::{Error, Lab, Result, until};

/// What a watch of the claims prints: name, address and hardware address, those that are not there yet empty.
const SHOWN: &str = r#"jsonpath={.metadata.name},{.status.address},{.status.identity.hardwareAddress}{"\n"}"#;

/// Seconds since 1970, as tcpdump counts them.
pub(crate) fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

/// Makes so many Services of a class in a namespace of that name. None of them has Pods: nobody needs to answer.
pub(crate) fn create(lab: &Lab, namespace: &str, class: &str, services: usize) -> Result<()> {
    lab.kubectl(&["create", "namespace", namespace])?;
    let file = lab.dir().join("services.yaml");
    let mut text = String::new();
    for n in 0..services {
        // Writing to a string cannot fail.
        let _always = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: web-{n:04}, namespace: {namespace}}}
spec:
  type: LoadBalancer
  loadBalancerClass: {class}
  loadBalancerIP: 0.0.0.0
  allocateLoadBalancerNodePorts: false
  ports: [{{port: 80}}]
"
        );
    }
    let doing = || format!("writing {}", file.display());
    fs::write(&file, text).map_err(|source| Error::Io { doing: doing(), source })?;
    lab.kubectl(&["create", "-f", &file.display().to_string()]).map(drop)
}

/// A claim, as it was seen to come about.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Seen {
    pub(crate) made: f64,
    /// When its status had an address.
    pub(crate) bound: Option<f64>,
    /// Its hardware address.
    pub(crate) mac: Option<String>,
}

/// The claims of a namespace, watched by one kubectl: asking again and again would cost the API server more than the
/// claims do. It ends when this is dropped.
pub(crate) struct Claims {
    child: Child,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

impl Claims {
    /// Starts watching.
    pub(crate) fn watch(lab: &Lab, namespace: &str) -> Result<Self> {
        let mut kubectl =
            lab.kubectl_command(&["-n", namespace, "get", "addressclaims", "--watch", "-o", SHOWN]);
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped());
        let doing = || format!("watching the claims in {namespace}");
        let mut child = kubectl.spawn().map_err(|source| Error::Io { doing: doing(), source })?;
        let seen = Arc::new(Mutex::default());
        if let Some(stdout) = child.stdout.take() {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                    note(&mut locked(&seen), now(), &line);
                }
            });
        }
        Ok(Self { child, seen })
    }

    /// Waits until there are so many claims.
    pub(crate) fn made(&self, claims: usize, within: Duration) -> Result<()> {
        until(&format!("{claims} claims"), within, || Ok((locked(&self.seen).len() >= claims).then_some(())))
    }

    /// Waits until so many claims have an address; gives all claims.
    pub(crate) fn bound(&self, claims: usize, within: Duration) -> Result<Vec<Seen>> {
        until(&format!("{claims} claims with an address"), within, || {
            let seen = locked(&self.seen);
            let bound = seen.values().filter(|seen| seen.bound.is_some()).count();
            Ok((bound >= claims).then(|| seen.values().cloned().collect()))
        })
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn locked(seen: &Mutex<BTreeMap<String, Seen>>) -> MutexGuard<'_, BTreeMap<String, Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a line of the watch.
fn note(all: &mut BTreeMap<String, Seen>, now: f64, line: &str) {
    let mut fields = line.split(',').map(|field| Some(field.to_owned()).filter(|field| !field.is_empty()));
    let mut next = || fields.next().flatten();
    let (name, address, mac) = (next(), next(), next());
    let Some(name) = name else { return };
    let seen = all.entry(name).or_insert(Seen { made: now, bound: None, mac: None });
    if address.is_some() {
        seen.bound.get_or_insert(now);
    }
    seen.mac = mac.or_else(|| seen.mac.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_bound_when_its_address_is_seen_for_the_first_time() {
        let mut all = BTreeMap::new();
        note(&mut all, 1.0, "shop.web.ipv4,,");
        note(&mut all, 2.0, "shop.web.ipv4,,02:ab:00:00:00:01");
        note(&mut all, 3.0, "shop.web.ipv4,192.0.2.7,02:ab:00:00:00:01");
        note(&mut all, 4.0, "shop.web.ipv4,192.0.2.7,02:ab:00:00:00:01");
        note(&mut all, 5.0, "");
        let expected = Seen { made: 1.0, bound: Some(3.0), mac: Some("02:ab:00:00:00:01".to_owned()) };
        assert_eq!(all, BTreeMap::from([("shop.web.ipv4".to_owned(), expected)]));
    }
}
