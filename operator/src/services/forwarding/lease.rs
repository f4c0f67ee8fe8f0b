//! For how long a Service's ports are to be forwarded.

use foghorn_crds::{LeaseSeconds, NetworkPlane, conditions::reasons::INVALID_FORWARDING, contract};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::{super::request::annotation, Refusal, ports::short};

/// The annotations that say it: the first that is there counts.
const ANNOTATIONS: [&str; 2] =
    [contract::PORT_FORWARD_LEASE_ANNOTATION, contract::KUBE_VIP_PORT_FORWARD_LEASE_ANNOTATION];

/// The lease that the annotations name, else the plane's; and what is wrong with theirs.
pub(crate) fn of(service: &Service, plane: &NetworkPlane) -> (LeaseSeconds, Option<Refusal>) {
    let of_plane = plane.spec.port_forwarding.lease;
    let Some((key, value)) = annotation(service, &ANNOTATIONS) else { return (of_plane, None) };
    if let Some(lease) = seconds(value).map(LeaseSeconds).filter(|lease| lease.is_valid()) {
        return (lease, None);
    }
    let message = format!(
        "{key}: {:?} is no lease, so that of plane {} counts, {} s: give 0, which is without an end, or {} to {} seconds, \
         as in 3600 or 1h",
        short(value),
        plane.name_any(),
        of_plane.0,
        LeaseSeconds::MIN,
        LeaseSeconds::MAX
    );
    (of_plane, Some(Refusal { reason: INVALID_FORWARDING, message }))
}

/// Seconds, or a duration as Go writes one, of hours, minutes and seconds: what kube-vip takes.
fn seconds(text: &str) -> Option<u32> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (mut total, mut rest) = (0_u32, text);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at_checked(rest.find(|digit: char| !digit.is_ascii_digit())?)?;
        let mut units = tail.chars();
        let unit = match units.next()? {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = number.parse::<u32>().ok()?.checked_mul(unit)?.checked_add(total)?;
        rest = units.as_str();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::{super::super::fixtures::*, *};

    #[test]
    fn a_service_says_for_how_long_and_the_plane_where_it_does_not() {
        assert_eq!(lease("example.com/other", "600"), (3600, None));
        assert_eq!(lease(contract::PORT_FORWARD_LEASE_ANNOTATION, "600"), (600, None));
    }

    #[test]
    fn what_kube_vip_takes_is_taken() {
        for (value, seconds) in
            [("2h", 7200), ("1h30m", 5400), ("90m", 5400), ("120s", 120), ("0s", 0), ("0", 0)]
        {
            assert_eq!(lease(contract::KUBE_VIP_PORT_FORWARD_LEASE_ANNOTATION, value), (seconds, None));
        }
    }

    #[test]
    fn a_lease_that_no_gateway_could_keep_does_not_count() {
        for value in ["119", "604801", "-1", "1d", "500ms", "h", "1.5h", "9999999999h", "ever"] {
            let wrong = lease(contract::PORT_FORWARD_LEASE_ANNOTATION, value);
            assert_eq!(wrong, (3600, Some(INVALID_FORWARDING)), "{value}");
        }
    }

    fn lease(key: &str, value: &str) -> (u32, Option<&'static str>) {
        let (lease, refusal) = of(&service("web").annotated(key, value).build(), &plane("a").build());
        (lease.0, refusal.map(|refusal| refusal.reason))
    }
}
