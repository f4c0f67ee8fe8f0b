//! What a Service's annotations change of how its address is asked for.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, DhcpRequest, NetworkPlane, Override,
    conditions::reasons::HARDWARE_ADDRESS_TAKEN,
    contract,
    hardware_address::{self, HardwareAddressFault},
};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use thiserror::Error;

use super::{
    publish,
    reasons::{self, Unserved},
    request,
};

/// What annotations may say, and their names: the first that is there counts.
const ANNOTATIONS: [(Override, &[&str]); 4] = [
    (
        Override::HardwareAddress,
        &[contract::HARDWARE_ADDRESS_ANNOTATION, contract::KUBE_VIP_HARDWARE_ADDRESS_ANNOTATION],
    ),
    (Override::ClientId, &[contract::CLIENT_ID_ANNOTATION]),
    (Override::Hostname, &[contract::HOSTNAME_ANNOTATION, contract::KUBE_VIP_HOSTNAME_ANNOTATION]),
    (
        Override::RequestedAddress,
        &[contract::REQUESTED_ADDRESS_ANNOTATION, contract::KUBE_VIP_REQUESTED_ADDRESS_ANNOTATION],
    ),
];
/// The longest value that is looked at, in octets. No sensible one comes near, and conditions cannot tell much more.
const VALUE_MAX: usize = 1024;
/// The longest name that DNS can hold, in characters.
const NAME_MAX: usize = 253;

/// What the annotations of a Service come to on its plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// What is asked in place of what the plane says.
    pub(crate) request: DhcpRequest,
    /// Which annotations do not count, in words.
    pub(crate) passed_over: Option<String>,
}

/// What is wrong with an annotation that counts.
#[derive(Debug, PartialEq, Eq, Error)]
enum Fault {
    #[error("the value has {0} octets, and none has more than {VALUE_MAX}")]
    TooLong(usize),
    #[error(transparent)]
    HardwareAddress(#[from] HardwareAddressFault),
    #[error(
        "{0:?} is no client identifier: 2 to 255 octets in hexadecimal are wanted, the type first, as in \
         01:02:00:5e:10:00:01"
    )]
    ClientId(String),
    #[error(
        "{0:?} is no host name: letters, digits, hyphens and dots are wanted, at most {NAME_MAX} in all, as in \
         www.shop"
    )]
    Hostname(String),
    #[error("{0:?} is no IPv4 address, as 203.0.113.50 is one")]
    RequestedAddress(String),
}

/// What the annotations of `service` come to on `plane`. Those that the plane does not allow are passed over: other
/// controllers write some of them by themselves.
pub(crate) fn of(service: &Service, plane: &NetworkPlane) -> Result<Overrides, Unserved> {
    let spec = &plane.spec.overrides;
    let mut request = DhcpRequest::default();
    let mut passed_over = Vec::new();
    for (what, keys) in ANNOTATIONS {
        let Some((key, value)) = request::annotation(service, keys) else { continue };
        if spec.allow.contains(&what) {
            match read(&mut request, what, value, &spec.hardware_addresses) {
                Ok(()) => {}
                // Without a name or a wish the Service is as well off as with one; it would lose a lease that it has.
                Err(fault) if matches!(what, Override::Hostname | Override::RequestedAddress) => {
                    passed_over.push(format!("{key} does not count: {fault}"));
                }
                Err(fault) => {
                    return Err(Unserved::new(reasons::INVALID_OVERRIDE, format!("{key}: {fault}")));
                }
            }
        } else {
            passed_over.push(format!(
                "{key} does not count, since overrides.allow of plane {} does not list {}",
                plane.name_any(),
                what.name()
            ));
        }
    }
    let passed_over = (!passed_over.is_empty()).then(|| passed_over.join("; "));
    Ok(Overrides { request, passed_over })
}

fn read(
    request: &mut DhcpRequest,
    what: Override,
    value: &str,
    allowed_hardware_addresses: &[String],
) -> Result<(), Fault> {
    if value.len() > VALUE_MAX {
        return Err(Fault::TooLong(value.len()));
    }
    match what {
        Override::HardwareAddress => {
            let octets = hardware_address::parse(value)?;
            hardware_address::check(octets, allowed_hardware_addresses)?;
            request.hardware_address = Some(hardware_address::format(octets));
        }
        Override::ClientId => request.client_id = Some(client_id(value)?),
        Override::Hostname => request.hostname = Some(hostname(value)?),
        Override::RequestedAddress => {
            let address: Ipv4Addr = value.parse().map_err(|_| Fault::RequestedAddress(value.to_owned()))?;
            // 0.0.0.0 is any address.
            request.requested_address = Some(address).filter(|address| !address.is_unspecified());
        }
    }
    Ok(())
}

/// Without the colons or hyphens that people write.
fn client_id(value: &str) -> Result<String, Fault> {
    let digits: String = value.chars().filter(|digit| !matches!(digit, ':' | '-')).collect();
    let is_hex = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    if is_hex && digits.len().is_multiple_of(2) && (4..=510).contains(&digits.len()) {
        Ok(digits.to_ascii_lowercase())
    } else {
        Err(Fault::ClientId(value.to_owned()))
    }
}

/// The client makes hyphens of what is in no host name; so something has to be left.
fn hostname(value: &str) -> Result<String, Fault> {
    if value.len() <= NAME_MAX && value.chars().any(|letter| letter.is_ascii_alphanumeric()) {
        Ok(value.to_owned())
    } else {
        Err(Fault::Hostname(value.to_owned()))
    }
}

/// Whether none of `others` is known to a DHCP server as `request` wants to be. If there is a claim for that already,
/// `mine`, of those that want it too only older ones matter: of two that were made at once one stays. What a claim has
/// by its name alone is its own whenever it was made.
pub(crate) fn is_free<'a>(
    request: &DhcpRequest,
    mine: Option<&AddressClaim>,
    others: impl IntoIterator<Item = &'a AddressClaim>,
) -> Result<(), Unserved> {
    let mine = mine.map(publish::age);
    let taken = others.into_iter().filter_map(|other| Some((other, taken_by(request, other)?)));
    let taken = taken.filter(|(other, taken)| {
        taken.by_its_name || mine.as_ref().is_none_or(|mine| publish::age(other) < *mine)
    });
    let Some((other, Taken { reason, what, .. })) = taken.min_by_key(|(other, _)| publish::age(other)) else {
        return Ok(());
    };
    let service = &other.spec.service_ref;
    Err(Unserved::new(
        reason,
        format!(
            "{what} is that of Service {}/{} on plane {}; it is free when that Service is gone or has another one",
            service.namespace, service.name, other.spec.plane
        ),
    ))
}

/// What of a request another claim has already.
pub(crate) struct Taken {
    reason: &'static str,
    /// In words.
    what: String,
    /// It is derived from the other claim's name, and not by an override.
    by_its_name: bool,
}

/// What of `request` the claim `other` has already, by its own overrides or as derived from its name.
pub(crate) fn taken_by(request: &DhcpRequest, other: &AddressClaim) -> Option<Taken> {
    let (own, derived) =
        (&other.spec.dhcp, other.status.as_ref().and_then(|status| status.identity.as_ref()));
    let has =
        |wanted: &String, own: Option<&String>, derived: Option<&String>| own.or(derived) == Some(wanted);
    let derived_address = derived.map(|identity| &identity.hardware_address);
    if let Some(wanted) = &request.hardware_address
        && has(wanted, own.hardware_address.as_ref(), derived_address)
    {
        let by_its_name = own.hardware_address.is_none();
        return Some(Taken {
            reason: HARDWARE_ADDRESS_TAKEN,
            what: format!("hardware address {wanted}"),
            by_its_name,
        });
    }
    let (own_id, derived_id) = (own.client_id_in_effect(), derived.map(|identity| &identity.client_id));
    let wanted = request.client_id_in_effect().filter(|wanted| has(wanted, own_id.as_ref(), derived_id))?;
    Some(Taken {
        reason: reasons::CLIENT_ID_TAKEN,
        what: format!("client identifier {wanted}"),
        by_its_name: own_id.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{AddressClaimStatus, ClaimIdentity};

    use super::{super::fixtures::*, *};

    const ALL: [Override; 4] =
        [Override::HardwareAddress, Override::ClientId, Override::Hostname, Override::RequestedAddress];

    #[test]
    fn annotations_that_the_plane_allows_are_asked_in_the_form_of_a_claim() {
        let service = service("web")
            .annotated(contract::HARDWARE_ADDRESS_ANNOTATION, "02-00-5E-10-00-0A")
            .annotated(contract::CLIENT_ID_ANNOTATION, " 01:02:00:5E:10:00:0a ")
            .annotated(contract::HOSTNAME_ANNOTATION, "www.shop")
            .annotated(contract::REQUESTED_ADDRESS_ANNOTATION, "203.0.113.50");
        let expected = DhcpRequest {
            hostname: Some("www.shop".into()),
            fqdn: None,
            hardware_address: Some("02:00:5e:10:00:0a".into()),
            client_id: Some("0102005e10000a".into()),
            requested_address: Some(ip("203.0.113.50")),
        };
        assert_eq!(on(&ALL, &service), Ok(Overrides { request: expected, passed_over: None }));
    }

    #[test]
    fn what_users_of_kube_vip_write_counts_where_there_is_nothing_of_foghorn_s_own() {
        let kube_vip = service("web")
            .annotated(contract::KUBE_VIP_HARDWARE_ADDRESS_ANNOTATION, "02:00:5e:10:00:01")
            .annotated(contract::KUBE_VIP_HOSTNAME_ANNOTATION, "www")
            .annotated(contract::KUBE_VIP_REQUESTED_ADDRESS_ANNOTATION, "203.0.113.50");
        let request = on(&ALL, &kube_vip).unwrap().request;
        assert_eq!(request.hardware_address.as_deref(), Some("02:00:5e:10:00:01"));
        assert_eq!(request.hostname.as_deref(), Some("www"));
        assert_eq!(request.requested_address, Some(ip("203.0.113.50")));
        let both = kube_vip
            .annotated(contract::HARDWARE_ADDRESS_ANNOTATION, "02:00:5e:10:00:02")
            .annotated(contract::HOSTNAME_ANNOTATION, " ");
        let request = on(&ALL, &both).unwrap().request;
        assert_eq!(request.hardware_address.as_deref(), Some("02:00:5e:10:00:02"));
        assert_eq!(request.hostname.as_deref(), Some("www"));
    }

    #[test]
    fn what_the_plane_does_not_allow_is_passed_over_and_named_whatever_it_says() {
        let service = service("web")
            .annotated(contract::KUBE_VIP_HARDWARE_ADDRESS_ANNOTATION, "no address")
            .annotated(contract::CLIENT_ID_ANNOTATION, "0102")
            .annotated(contract::HOSTNAME_ANNOTATION, "www");
        let Overrides { request, passed_over } = on(&[Override::Hostname], &service).unwrap();
        assert_eq!(request, DhcpRequest { hostname: Some("www".into()), ..DhcpRequest::default() });
        assert_eq!(
            passed_over.unwrap(),
            "kube-vip.io/hwaddr does not count, since overrides.allow of plane a does not list HardwareAddress; \
             foghorn.dev/client-id does not count, since overrides.allow of plane a does not list ClientId"
        );
    }

    #[test]
    fn a_service_without_annotations_asks_nothing_of_its_own() {
        let nothing = Overrides { request: DhcpRequest::default(), passed_over: None };
        assert_eq!(on(&[], &service("web")), Ok(nothing.clone()));
        assert_eq!(on(&ALL, &service("web").annotated(contract::HOSTNAME_ANNOTATION, "")), Ok(nothing));
    }

    #[test]
    fn any_address_is_no_wish() {
        let service = service("web").annotated(contract::REQUESTED_ADDRESS_ANNOTATION, "0.0.0.0");
        assert_eq!(on(&ALL, &service).unwrap().request, DhcpRequest::default());
    }

    #[test]
    fn a_hardware_address_is_unicast_and_local_or_named_by_the_plane() {
        for (value, words) in [
            ("01:00:5e:00:00:01", "not the address of one host"),
            ("00:50:56:00:00:02", "overrides.hardwareAddresses"),
            ("02:00:5e:10:00", "six pairs"),
        ] {
            refused(contract::HARDWARE_ADDRESS_ANNOTATION, value, words);
        }
        let service = service("web").annotated(contract::HARDWARE_ADDRESS_ANNOTATION, "00:50:56:00:00:01");
        assert!(on(&ALL, &service).is_ok());
    }

    #[test]
    fn a_client_identifier_is_of_2_to_255_octets_in_hexadecimal() {
        for value in ["01", "010", "01zz", "web", "ä1", "::--", &"00".repeat(256)] {
            refused(contract::CLIENT_ID_ANNOTATION, value, "2 to 255 octets");
        }
        for value in ["0102", &"0a".repeat(255), &vec!["0A"; 255].join(":")] {
            let service = service("web").annotated(contract::CLIENT_ID_ANNOTATION, value);
            assert!(on(&ALL, &service).is_ok(), "{value}");
        }
    }

    #[test]
    fn a_host_name_or_wish_that_cannot_be_does_not_count_and_costs_no_address() {
        let long = "a".repeat(254);
        for (key, value, words) in [
            (contract::HOSTNAME_ANNOTATION, "...", "host name"),
            (contract::HOSTNAME_ANNOTATION, "-_-", "host name"),
            (contract::HOSTNAME_ANNOTATION, &long, "host name"),
            (contract::REQUESTED_ADDRESS_ANNOTATION, "2001:db8::1", "no IPv4 address"),
        ] {
            let Overrides { request, passed_over } = on(&ALL, &service("web").annotated(key, value)).unwrap();
            assert_eq!(request, DhcpRequest::default());
            let said = passed_over.unwrap();
            assert!(said.starts_with(&format!("{key} does not count: ")) && said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_a_claim_has_by_its_name_is_its_own_whenever_it_was_made() {
        let old = created(with(claim("web"), "02:00:00:00:00:01", "ff01"), 3);
        let young = created(known_as(claim("api"), "02:00:00:00:00:01", "ff01"), 9);
        let unserved = is_free(&old.spec.dhcp, Some(&old), [&old, &young]).unwrap_err();
        assert!(unserved.message.contains("Service shop/api"), "{}", unserved.message);
    }

    #[test]
    fn a_value_that_no_condition_could_tell_is_not_repeated() {
        let unserved = refused(contract::HARDWARE_ADDRESS_ANNOTATION, &"x".repeat(200_000), "200000 octets");
        assert!(unserved.message.len() < 200, "{}", unserved.message.len());
    }

    #[test]
    fn what_another_claim_has_by_override_or_derivation_is_taken() {
        let address = |value: &str| asking(Some(value), None);
        let id = |value: &str| asking(None, Some(value));
        let derived = known_as(claim("api"), "02:00:00:00:00:01", "ff01");
        let overridden = with(derived.clone(), "02:00:00:00:00:02", "0102");
        assert_eq!(reason(&address("02:00:00:00:00:01"), &derived), Some(HARDWARE_ADDRESS_TAKEN));
        assert_eq!(reason(&id("ff01"), &derived), Some(reasons::CLIENT_ID_TAKEN));
        assert_eq!(reason(&address("02:00:00:00:00:02"), &overridden), Some(HARDWARE_ADDRESS_TAKEN));
        assert_eq!(reason(&id("0102"), &overridden), Some(reasons::CLIENT_ID_TAKEN));
        // What it would have without its own overrides, and what nobody asks for.
        assert_eq!(reason(&asking(Some("02:00:00:00:00:01"), Some("ff01")), &overridden), None);
        assert_eq!(reason(&DhcpRequest::default(), &derived), None);
        assert_eq!(reason(&address("02:00:00:00:00:01"), &claim("api")), None);
    }

    #[test]
    fn a_mac_address_has_the_client_identifier_that_is_made_of_it() {
        let by_mac = with_mac(claim("api"), "02:00:00:00:00:01");
        assert_eq!(reason(&asking(None, Some("01020000000001")), &by_mac), Some(reasons::CLIENT_ID_TAKEN));
        let by_id = known_as(claim("api"), "02:00:00:00:00:09", "01020000000001");
        assert_eq!(reason(&asking(Some("02:00:00:00:00:01"), None), &by_id), Some(reasons::CLIENT_ID_TAKEN));
        assert_eq!(reason(&asking(Some("02:00:00:00:00:01"), Some("ff09")), &by_id), None);
    }

    #[test]
    fn of_several_that_have_it_the_oldest_is_named() {
        let one = created(known_as(claim("one"), "02:00:00:00:00:01", "ff01"), 9);
        let two = known_as(claim("two"), "02:00:00:00:00:01", "ff02");
        let unserved = is_free(&asking(Some("02:00:00:00:00:01"), None), None, [&one, &two]).unwrap_err();
        assert!(unserved.message.contains("Service shop/two on plane a"), "{}", unserved.message);
        assert!(unserved.message.contains("02:00:00:00:00:01"), "{}", unserved.message);
    }

    #[test]
    fn of_two_claims_that_were_made_at_once_the_older_stays() {
        let [old, same, young] = [("api", 3), ("web", 3), ("www", 9)]
            .map(|(name, second)| created(with(claim(name), "02:00:00:00:00:01", "0102"), second));
        let is_free = |mine: &AddressClaim| {
            is_free(&mine.spec.dhcp, Some(mine), [&young, &same, &old])
                .map_err(|unserved| unserved.message.contains("shop/api"))
        };
        assert_eq!(is_free(&old), Ok(()));
        assert_eq!(is_free(&same), Err(true));
        assert_eq!(is_free(&young), Err(true));
    }

    fn on(allow: &[Override], service: &ServiceFixture) -> Result<Overrides, Unserved> {
        let mut plane = plane("a").build();
        plane.spec.overrides.allow = allow.to_vec();
        plane.spec.overrides.hardware_addresses = vec!["00:50:56:00:00:01".into()];
        of(&service.build(), &plane)
    }

    fn refused(key: &str, value: &str, words: &str) -> Unserved {
        let unserved = on(&ALL, &service("web").annotated(key, value)).unwrap_err();
        assert_eq!(unserved.reason, reasons::INVALID_OVERRIDE, "{value}");
        assert!(unserved.message.starts_with(&format!("{key}: ")), "{}", unserved.message);
        assert!(unserved.message.contains(words), "{}", unserved.message);
        unserved
    }

    fn reason(request: &DhcpRequest, other: &AddressClaim) -> Option<&'static str> {
        is_free(request, None, [other]).err().map(|unserved| unserved.reason)
    }

    fn asking(hardware_address: Option<&str>, client_id: Option<&str>) -> DhcpRequest {
        DhcpRequest {
            hardware_address: hardware_address.map(Into::into),
            client_id: client_id.map(Into::into),
            ..DhcpRequest::default()
        }
    }

    /// As its announcer says.
    fn known_as(mut claim: AddressClaim, hardware_address: &str, client_id: &str) -> AddressClaim {
        let identity = ClaimIdentity {
            hardware_address: hardware_address.into(),
            client_id: client_id.into(),
            seed: None,
            mode: None,
        };
        claim.status = Some(AddressClaimStatus { identity: Some(identity), ..AddressClaimStatus::default() });
        claim
    }

    /// As a Service's annotation says that has no other.
    fn with_mac(mut claim: AddressClaim, hardware_address: &str) -> AddressClaim {
        claim.spec.dhcp = asking(Some(hardware_address), None);
        claim
    }

    /// As its Service's annotations say.
    fn with(mut claim: AddressClaim, hardware_address: &str, client_id: &str) -> AddressClaim {
        claim.spec.dhcp = asking(Some(hardware_address), Some(client_id));
        claim
    }
}
