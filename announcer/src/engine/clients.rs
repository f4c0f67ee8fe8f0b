//! The DHCP client of a claim: who it is, how it asks, and what it goes on with.

use std::{net::Ipv4Addr, time::Duration};

use foghorn_clock::Instant;
use foghorn_crds::{
    AddressClaim, AddressFamily, ClaimState, DhcpOption, IdentityInUse, IdentityMode, PlaneConfig,
    TakeoverMode, conditions::reasons, hardware_address,
};
use foghorn_dhcp::{self as dhcp, Client, ClientConfig, Family, Identity, Lease, Mode, PARAMETERS};
use foghorn_netio::Link;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tracing::warn;

use super::{
    Engine, TAKEOVER_REPORT_DELAY,
    carriage::Carriage,
    held::{Fault, Held},
    starts::Pace,
    status,
};

/// An offset to the API server's clock that is older than this says nothing exact of the times in a status.
const FRESH: Duration = Duration::from_secs(600);

/// How long a foreign host that was heard with a claim's hardware address is taken to be there.
const FOREIGN_HOST: Duration = Duration::from_secs(60);

/// What a claim's client goes on with.
enum Recalled {
    /// A lease, and whether its address was found free.
    Lease(Lease, bool),
    /// A lease of which it is not known how long it is good.
    Address(Ipv4Addr),
    Nothing,
}

/// A lease that was in hand when the interface went away.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) lease: Lease,
    /// No other host was found to have its address.
    pub(super) found_free: bool,
    /// Of the claim: another one of the same name may be another client to the server.
    pub(super) uid: Option<String>,
}

impl Engine {
    /// Takes a claim in hand: with the lease of its last holder, or from the beginning.
    pub(super) fn begin(&mut self, now: Instant, name: &str, claim: &AddressClaim) {
        let kept = self.kept.contains_key(name);
        let recalled = self.recall(now, name, claim);
        self.begin_with(now, name, claim, recalled, kept);
    }

    fn begin_with(&mut self, now: Instant, name: &str, claim: &AddressClaim, recalled: Recalled, kept: bool) {
        let (Some(config), Some(link)) = (&self.config, &self.link) else { return };
        let ending = claim.metadata.deletion_timestamp.is_some();
        let (mut client_config, mut fault) = settings(config, link, &self.carriage, claim);
        let mut outdated = false;
        if matches!(recalled, Recalled::Lease(..) | Recalled::Address(_))
            && let Some(identity) = of_lease(claim).filter(|identity| *identity != client_config.identity)
        {
            // The lease is that of the identity which it was got with, whatever the plane says by now.
            (client_config.mode, client_config.finds_mode) =
                self.carriage.begin(IdentityMode::Auto, link, name, recorded_mode(claim));
            (client_config.identity, outdated) = (identity, true);
        }
        let confirms = client_config.confirm_takeover;
        let mac = client_config.identity.hardware_address;
        if client_config.mode != Mode::NodeMac && fault.is_none() {
            fault = self.clash(name, mac, link);
        }
        if !matches!(recalled, Recalled::Nothing) {
            client_config.start_jitter = Pace::of(&config.dhcp).time_for(self.claims.len());
        }
        let mut inherited = None;
        if let Recalled::Lease(Lease { address, .. }, _) | Recalled::Address(address) = &recalled {
            client_config.requested_address = Some(*address);
            let state = claim.status.as_ref().and_then(|status| status.state);
            inherited = Some(*address).filter(|_| state != Some(ClaimState::Checking));
        }
        if client_config.mode != Mode::NodeMac && fault.is_none() {
            self.recipients.own(mac, name);
        }
        let rng = StdRng::seed_from_u64(self.rng.random());
        let mut held = Held::new(name, config.dhcp.identity, Client::new(client_config, rng));
        held.releasing = ending;
        held.inherited = inherited;
        held.outdated = outdated;
        held.fault = fault;
        let claim = held.name.clone();
        self.held.insert(name.to_owned(), held);
        self.touched.insert(name.to_owned());
        match recalled {
            // The last holder had it from the server, but did not live to see whether it is free.
            Recalled::Lease(lease, false) if !ending && self.may_go_on(now, name, &lease) => {
                self.tell(now, name, dhcp::Input::Recheck(lease));
            }
            Recalled::Lease(lease, _) if ending || self.may_go_on(now, name, &lease) => {
                if !ending {
                    self.by_address.insert(lease.address, claim);
                }
                let at = now + TAKEOVER_REPORT_DELAY;
                if let Some(held) = self.held.get_mut(name) {
                    held.report.not_before = at;
                }
                self.due(name, at);
                self.tell(now, name, dhcp::Input::Resume(lease));
                // What is announced at once may be on another network by now.
                if kept && !confirms {
                    self.tell(now, name, dhcp::Input::LinkUp);
                }
            }
            Recalled::Address(address) => self.tell(now, name, dhcp::Input::Confirm(address)),
            Recalled::Lease(..) | Recalled::Nothing => {
                if let Some(held) = self.held.get_mut(name).filter(|held| held.fault.is_none()) {
                    held.queued = true;
                    self.starts.push(now, name.to_owned());
                }
            }
        }
    }

    fn may_go_on(&self, now: Instant, name: &str, lease: &Lease) -> bool {
        lease.expires_at > now && self.usable(name, lease).is_ok()
    }

    fn recall(&mut self, now: Instant, name: &str, claim: &AddressClaim) -> Recalled {
        let kept = self.kept.remove(name).filter(|kept| kept.uid == claim.metadata.uid);
        if let Some(Kept { lease, found_free, .. }) = kept {
            return Recalled::Lease(lease, found_free);
        }
        let Some(status) = claim.status.as_ref().filter(|_| !self.is_of_another_cluster(claim)) else {
            return Recalled::Nothing;
        };
        let Some(lease) = &status.lease else { return Recalled::Nothing };
        let found_free = status.address == Some(lease.address);
        match self.api_time {
            Some(api_time) if now - api_time.measured < FRESH => {
                Recalled::Lease(status::remembered(lease, api_time), found_free)
            }
            // To give it back its times do not matter.
            _ if claim.metadata.deletion_timestamp.is_some() => {
                Recalled::Lease(status::without_times(lease), found_free)
            }
            _ => Recalled::Address(lease.address),
        }
    }

    /// Whether the lease in the claim's status was got by the identity of another seed: by the cluster that this one is a copy
    /// of. It is neither used nor released.
    fn is_of_another_cluster(&self, claim: &AddressClaim) -> bool {
        let identity = claim.status.as_ref().and_then(|status| status.identity.as_ref());
        let (Some(config), Some(identity)) = (&self.config, identity) else { return false };
        identity.seed.as_ref().unwrap_or(&config.cluster_id) != config.identity_seed()
    }

    /// Why the claim cannot have the hardware address, if somebody here has it.
    fn clash(&self, name: &str, mac: [u8; 6], link: &Link) -> Option<Fault> {
        let taken = |who: String| Fault {
            reason: reasons::HARDWARE_ADDRESS_TAKEN,
            message: format!("{who} has the hardware address {} already", hardware_address::format(mac)),
            until: Instant::NEVER,
        };
        if self.peers.contains(mac) {
            return Some(taken("another node".to_owned()));
        }
        if link.mac == Some(mac) {
            return Some(taken(format!("{} of node {}", link.name, self.node)));
        }
        self.recipients.owner(mac).filter(|owner| *owner != name).map(|owner| taken(format!("claim {owner}")))
    }

    /// Tells a client what has changed in how it asks. Who it is changes only without a lease: then it begins anew.
    pub(super) fn configure(&mut self, now: Instant, name: &str, claim: &AddressClaim) {
        let (Some(config), Some(link)) = (&self.config, &self.link) else { return };
        let (settings, _) = settings(config, link, &self.carriage, claim);
        let Some(held) = self.held.get_mut(name) else { return };
        held.outdated =
            held.asked != config.dhcp.identity || held.client.config().identity != settings.identity;
        if held.outdated {
            self.renew_identity(now, name);
            return;
        }
        held.client.configure(settings);
    }

    /// Begins a claim anew whose identity is no longer the right one, once there is no lease on it.
    pub(super) fn renew_identity(&mut self, now: Instant, name: &str) {
        if self.held.get(name).is_some_and(|held| held.outdated && !held.releasing) {
            self.begin_anew(now, name);
        }
    }

    /// Begins a claim from nothing: its status may still tell of a lease that is lost. Not while there is one.
    pub(super) fn begin_anew(&mut self, now: Instant, name: &str) {
        let without =
            self.held.get(name).is_some_and(|held| !held.releasing && held.client.lease().is_none());
        let Some(claim) = self.claims.get(name).cloned().filter(|_| without) else { return };
        self.starts.finish(name);
        self.forget(name);
        self.begin_with(now, name, &claim, Recalled::Nothing, false);
    }

    /// Another host was heard with the claim's hardware address: for a while nothing is sent with it.
    pub(super) fn make_way(&mut self, now: Instant, name: &str, host: Ipv4Addr, mac: [u8; 6]) {
        let until = now + FOREIGN_HOST;
        let known = self.held.get_mut(name).and_then(|held| held.fault.as_mut());
        if let Some(fault) = known.filter(|fault| now < fault.until) {
            fault.until = fault.until.max(until);
            return;
        }
        let mac = hardware_address::format(mac);
        let message = format!("the host {host} on this network has the claim's hardware address {mac}");
        warn!(claim = name, message, "hardware address in use");
        self.begin_anew(now, name);
        self.starts.finish(name);
        if let Some(held) = self.held.get_mut(name) {
            held.queued = false;
            held.fault = Some(Fault { reason: reasons::HARDWARE_ADDRESS_TAKEN, message, until });
        }
        self.touched.insert(name.to_owned());
    }

    /// Tries again what another host was in the way of, once that was not heard for long enough.
    pub(super) fn try_again(&mut self, now: Instant, name: &str) {
        let Some(held) = self.held.get_mut(name) else { return };
        if held.fault.take_if(|fault| fault.until <= now).is_some() {
            self.begin_anew(now, name);
        }
    }
}

/// How the claim's client is to ask, and what is wrong with who it is to be.
fn settings(
    config: &PlaneConfig,
    link: &Link,
    carriage: &Carriage,
    claim: &AddressClaim,
) -> (ClientConfig, Option<Fault>) {
    let plane = &config.dhcp;
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let (mode, finds_mode) = carriage.begin(plane.identity, link, name, recorded_mode(claim));
    let (mut identity, fault) = identity(config, claim);
    if let (Mode::NodeMac, Some(mac)) = (mode, link.mac) {
        identity.hardware_address = mac;
    }
    let wanted = &claim.spec.dhcp;
    let text = |text: &String| (!text.is_empty()).then(|| text.clone().into_bytes());
    let settings = ClientConfig {
        mode,
        finds_mode,
        hostname: wanted.hostname.clone(),
        fqdn: wanted.fqdn.clone(),
        vendor_class: text(&plane.vendor_class),
        user_classes: plane.user_classes.iter().filter_map(text).collect(),
        options: plane.options.iter().filter_map(option).collect(),
        broadcast: plane.broadcast,
        rapid_commit: plane.rapid_commit,
        offer_wait: Duration::from_millis(plane.offer_wait_milliseconds.into()),
        requested_address: wanted.requested_address,
        // The lease has the former node's MAC address.
        confirm_takeover: plane.takeover == TakeoverMode::Confirm || mode == Mode::NodeMac,
        parameters: parameters(&plane.parameters),
        ..ClientConfig::new(identity)
    };
    (settings, fault)
}

fn recorded_mode(claim: &AddressClaim) -> Option<IdentityInUse> {
    claim.status.as_ref()?.identity.as_ref()?.mode
}

/// The identity that the claim's last holder got its lease with. None if that was the holder's own hardware address,
/// which is another one on each node.
fn of_lease(claim: &AddressClaim) -> Option<Identity> {
    let recorded = claim.status.as_ref()?.identity.as_ref()?;
    let is_node_s = recorded.mode == Some(IdentityInUse::NodeMac);
    let hardware_address = hardware_address::parse(&recorded.hardware_address).ok().filter(|_| !is_node_s)?;
    Some(Identity { hardware_address, client_id: octets(&recorded.client_id)? })
}

fn identity(config: &PlaneConfig, claim: &AddressClaim) -> (Identity, Option<Fault>) {
    let service = &claim.spec.service_ref;
    let mut identity = Identity::derive(&dhcp::Owner {
        cluster: config.identity_seed(),
        plane: &config.plane,
        namespace: &service.namespace,
        service: &service.name,
        family: match claim.spec.family {
            AddressFamily::IPv4 => Family::V4,
        },
    });
    let mut fault = None;
    if let Some(text) = &claim.spec.dhcp.hardware_address {
        let allowed = &config.allowed_hardware_addresses;
        match hardware_address::parse(text)
            .and_then(|mac| hardware_address::check(mac, allowed).map(|()| mac))
        {
            Ok(mac) => identity.hardware_address = mac,
            Err(error) => fault = Some(error.to_string()),
        }
    }
    if let Some(text) = claim.spec.dhcp.client_id_in_effect() {
        match octets(&text).filter(|id| (2..=255).contains(&id.len())) {
            Some(client_id) => identity.client_id = client_id,
            None => {
                fault = Some(format!(
                    "{text:?} is no client identifier: 2 to 255 octets in hexadecimal are wanted"
                ));
            }
        }
    }
    let fault =
        fault.map(|message| Fault { reason: reasons::INVALID_OVERRIDE, message, until: Instant::NEVER });
    (identity, fault)
}

/// Those that the client needs, in its order, then the plane's.
fn parameters(more: &[u8]) -> Vec<u8> {
    let mut parameters = PARAMETERS.to_vec();
    for code in more {
        if !parameters.contains(code) {
            parameters.push(*code);
        }
    }
    parameters
}

/// An option of the plane as it is sent; nothing if its value cannot be read, which the schema refuses.
fn option(option: &DhcpOption) -> Option<(u8, Vec<u8>)> {
    let value = match option {
        DhcpOption { text: Some(text), .. } => text.clone().into_bytes(),
        DhcpOption { hex: Some(hex), .. } => octets(hex)?,
        DhcpOption { addresses: Some(addresses), .. } => {
            addresses.iter().flat_map(Ipv4Addr::octets).collect()
        }
        DhcpOption { text: None, hex: None, addresses: None, .. } => return None,
    };
    Some((option.code, value))
}

/// Octets from pairs of hexadecimal digits.
fn octets(hex: &str) -> Option<Vec<u8>> {
    let (pairs, odd) = hex.as_bytes().as_chunks::<2>();
    if !odd.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
