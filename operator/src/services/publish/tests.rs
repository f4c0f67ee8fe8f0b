use foghorn_crds::{AddressClaim, AllowedNamespaces, ClaimRoute, ClaimState, NetworkPlane, RefusedNetwork};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;

use super::{
    super::{fixtures::*, validity::Validity},
    *,
};

#[test]
fn a_held_address_is_published_as_a_virtual_one() {
    let publication = of(&bound("web", "203.0.113.7"), &[]);
    assert_eq!(publication.ingress, Ingress::Address(ip("203.0.113.7")));
    let status = publication.status(&service("web").build(), at(1)).unwrap();
    let ingress = status.load_balancer.unwrap().ingress.unwrap();
    assert_eq!(ingress[0].ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(ingress[0].ip_mode.as_deref(), Some("VIP"));
    assert_eq!(status.conditions.unwrap()[0].status, "True");
}

#[test]
fn an_address_without_endpoints_is_kept_and_not_announced() {
    let mut claim = bound("web", "203.0.113.7");
    claim.spec.serving_nodes = Some(vec!["w1".into()]);
    assert_eq!(of(&claim, &[]).ingress, Ingress::Address(ip("203.0.113.7")));
    claim.spec.serving_nodes = Some(Vec::new());
    for claim in [claim.clone(), unassigned(claim)] {
        let publication = of(&claim, &[]);
        assert_eq!(publication.ingress, Ingress::Silent(ip("203.0.113.7")));
        assert_eq!(publication.reason, claim_reasons::NO_SERVING_NODE);
        assert!(publication.message.contains("no node has a ready endpoint"), "{}", publication.message);
        let status = publication.status(&service("web").build(), at(1)).unwrap();
        assert_eq!(status.conditions.unwrap()[0].status, "False");
        assert_eq!(status.load_balancer.unwrap().ingress.unwrap().len(), 1);
    }
}

#[test]
fn an_address_that_no_announcer_can_have_is_kept_and_a_warning_tells_why() {
    for reason in [claim_reasons::NO_MEMBER, claim_reasons::NO_SUBNET] {
        let bound = bound("web", "203.0.113.7");
        let lost = with_ready(unassigned(bound.clone()), false, reason);
        let publication = of(&lost, &[]);
        assert_eq!(publication.ingress, Ingress::Silent(ip("203.0.113.7")));
        assert_eq!(publication.reason, reason);
        let steps = [of(&bound, &[]), publication.clone(), publication, of(&bound, &[])];
        assert_eq!(events(&steps), ["AddressAssigned", reason]);
        assert_eq!(lapsed(&lost).ingress, Ingress::Empty, "not beyond its lease");
    }
}

#[test]
fn without_a_lease_nothing_is_kept() {
    let mut claim = claim("web");
    claim.spec.serving_nodes = Some(Vec::new());
    let publication = of(&claim, &[]);
    assert_eq!(publication.ingress, Ingress::Empty);
    assert_eq!(publication.reason, claim_reasons::NO_SERVING_NODE);
    let mut refused = unassigned(bound("web", "203.0.113.7"));
    refused.status.as_mut().unwrap().state = Some(ClaimState::Refused);
    assert_eq!(of(&refused, &[]).ingress, Ingress::Empty);
}

#[test]
fn a_gap_without_endpoints_is_no_event() {
    let mut gap = bound("web", "203.0.113.7");
    gap.spec.serving_nodes = Some(Vec::new());
    let address = of(&bound("web", "203.0.113.7"), &[]);
    let steps = [address.clone(), of(&gap, &[]), of(&unassigned(gap), &[]), address];
    assert_eq!(events(&steps), ["AddressAssigned"]);
}

#[test]
fn a_gap_that_outlives_the_lease_loses_the_address() {
    let mut gap = unassigned(bound("web", "203.0.113.7"));
    gap.spec.serving_nodes = Some(Vec::new());
    let steps = [of(&bound("web", "203.0.113.7"), &[]), of(&gap, &[]), lapsed(&gap)];
    assert_eq!(steps[2].reason, claim_reasons::LEASE_EXPIRED);
    assert_eq!(events(&steps), ["AddressAssigned", "AddressLost"]);
}

#[test]
fn endpoints_where_no_announcer_runs_are_named() {
    let mut claim = unassigned(bound("web", "203.0.113.7"));
    claim.spec.serving_nodes = Some(vec!["w3".into()]);
    let said = |members: &[&str]| {
        let plane = plane("a").with_announcers(Some("2/2"), members).build();
        of_claim(&claim, &plane, &refused(), [], |_| false, &Validity::default()).message
    };
    let message = said(&["w1", "w2"]);
    assert!(message.contains("on w3 only, where no announcer of plane a runs"), "{message}");
    assert!(message.contains("tolerations"), "{message}");
    assert!(said(&["w1", "w3"]).contains("waiting for an announcer on a node with a ready endpoint (w3)"));
}

#[test]
fn an_address_is_withdrawn_when_its_lease_has_lapsed() {
    let claim = bound("web", "203.0.113.7");
    let publication = lapsed(&claim);
    assert_eq!((publication.ingress, publication.reason.as_str()), (Ingress::Empty, "LeaseExpired"));
    assert!(publication.message.contains("203.0.113.7 on plane a"), "{}", publication.message);
    assert_eq!(events(&[of(&claim, &[]), publication]), ["AddressAssigned", "AddressLost"]);
}

#[test]
fn a_lost_holder_is_named_and_the_address_stays() {
    let validity = Validity { holder_lost: true, ..Validity::default() };
    let claim = bound("web", "203.0.113.7");
    let lost = of_claim(&claim, &plane("a").build(), &refused(), [], |_| false, &validity);
    assert_eq!((lost.ingress, lost.reason.as_str()), (Ingress::Address(ip("203.0.113.7")), "HolderLost"));
    let message = &lost.message;
    assert!(message.contains("holder w1") && message.contains("1970-01-01T01:00:04Z"), "{message}");
    assert_eq!(events(&[of(&claim, &[]), lost]), ["AddressAssigned"]);
}

#[test]
fn a_lease_that_has_ended_keeps_no_address_from_another_claim() {
    let ended = bound("api", "203.0.113.7");
    let mut valid = created(bound("web", "203.0.113.7"), 9);
    valid.status.as_mut().unwrap().lease.as_mut().unwrap().expires_at = None;
    let validity = Validity { now: at(3610), ..Validity::default() };
    let of = |claim: &AddressClaim, other: &AddressClaim| {
        let is_published = |claim: &AddressClaim| claim.uid() == ended.uid();
        of_claim(claim, &plane("a").build(), &refused(), [other], is_published, &validity)
    };
    assert_eq!(of(&valid, &ended).ingress, Ingress::Address(ip("203.0.113.7")));
    assert_eq!(of(&ended, &valid).reason, reasons::ADDRESS_TAKEN);
}

#[test]
fn a_claim_that_nobody_took_up_says_so() {
    let publication = of(&claim("web"), &[]);
    assert_eq!(publication.reason, reasons::WAITING_FOR_ANNOUNCER);
    assert!(publication.message.contains("foghorn-a"), "{}", publication.message);
}

#[test]
fn an_address_is_published_only_while_it_is_held() {
    let silent = with_ready(bound("web", "203.0.113.7"), false, claim_reasons::NO_DHCP_ANSWER);
    let publication = of(&silent, &[]);
    assert_eq!(publication.ingress, Ingress::Empty);
    assert_eq!(publication.reason, claim_reasons::NO_DHCP_ANSWER);
    let mut without_address = bound("web", "203.0.113.7");
    without_address.status.as_mut().unwrap().address = None;
    assert_eq!(of(&without_address, &[]).ingress, Ingress::Empty);
    let mut released = bound("web", "203.0.113.7");
    released.status.as_mut().unwrap().state = Some(ClaimState::Released);
    assert_eq!(of(&released, &[]).ingress, Ingress::Empty);
}

#[test]
fn a_node_s_address_is_refused_whoever_announces_it() {
    let publication = of(&bound("web", "203.0.113.11"), &[]);
    assert_eq!(publication.ingress, Ingress::Empty);
    assert_eq!(publication.reason, claim_reasons::ADDRESS_REFUSED);
    assert!(publication.message.contains("node w1"), "{}", publication.message);
}

#[test]
fn an_address_that_the_service_wished_for_is_checked_as_any_other() {
    let mut wished = bound("web", "203.0.113.11");
    wished.spec.dhcp.requested_address = Some(ip("203.0.113.11"));
    assert_eq!(of(&wished, &[]).reason, claim_reasons::ADDRESS_REFUSED);
}

#[test]
fn the_router_the_server_and_the_broadcast_address_are_refused() {
    for address in ["203.0.113.1", "203.0.113.2", "203.0.113.255", "203.0.113.0"] {
        assert_eq!(of(&bound("web", address), &[]).reason, claim_reasons::ADDRESS_REFUSED, "{address}");
    }
}

#[test]
fn an_address_outside_the_allowed_subnets_is_refused() {
    let mut plane = plane("a").build();
    plane.spec.allowed_subnets = vec!["203.0.113.64/26".into()];
    let publish = |plane: &NetworkPlane, address| {
        of_claim(&bound("web", address), plane, &refused(), [], |_| false, &Validity::default())
    };
    assert_eq!(publish(&plane, "203.0.113.7").reason, claim_reasons::ADDRESS_REFUSED);
    assert_eq!(publish(&plane, "203.0.113.70").ingress, Ingress::Address(ip("203.0.113.70")));
}

#[test]
fn an_invalid_spec_takes_no_address_away_and_gives_none() {
    let claim = bound("web", "203.0.113.7");
    let mut service = service("web").build();
    service.status = of(&claim, &[]).status(&service, at(1));
    let mut typo_in_selector = plane("a").build();
    typo_in_selector.spec.allowed_subnets = vec!["198.51.100.0/24".into()];
    typo_in_selector.spec.allowed_namespaces =
        Some(AllowedNamespaces { names: vec![], selector: Some(invalid_selector()) });
    for plane in [plane("a").invalid().build(), typo_in_selector] {
        let of = |published| of_claim(&claim, &plane, &refused(), [], |_| published, &Validity::default());
        assert!(of(true).is_said(&service) && of(true).status(&service, at(2)).is_none());
        let new = of(false);
        assert_eq!((new.ingress, new.reason.as_str()), (Ingress::Empty, reasons::PLANE_NOT_ACCEPTED));
        assert!(new.message.starts_with("plane a is not accepting Services: Invalid"), "{}", new.message);
    }
}

#[test]
fn of_two_claims_with_one_address_the_older_wins_and_is_named_to_the_other() {
    let older = bound("api", "203.0.113.7");
    let younger = created(bound("web", "203.0.113.7"), 9);
    let publication = of(&younger, std::slice::from_ref(&older));
    assert_eq!(publication.reason, reasons::ADDRESS_TAKEN);
    assert!(publication.message.contains("shop/api on plane a"), "{}", publication.message);
    assert_eq!(of(&older, std::slice::from_ref(&younger)).ingress, Ingress::Address(ip("203.0.113.7")));
}

#[test]
fn an_older_claim_that_comes_by_a_published_address_does_not_take_it() {
    let intruder = bound("api", "203.0.113.7");
    let published = created(bound("web", "203.0.113.7"), 9);
    let of = |claim: &AddressClaim, other: &AddressClaim| {
        let is_published = |claim: &AddressClaim| claim.uid() == published.uid();
        of_claim(claim, &plane("a").build(), &refused(), [other], is_published, &Validity::default())
    };
    assert_eq!(of(&published, &intruder).ingress, Ingress::Address(ip("203.0.113.7")));
    let publication = of(&intruder, &published);
    assert_eq!(publication.reason, reasons::ADDRESS_TAKEN);
    assert!(publication.message.contains("shop/web"), "{}", publication.message);
}

#[test]
fn only_what_our_condition_confirms_is_published() {
    let mut service = service("web").build();
    service.status = of(&bound("web", "203.0.113.7"), &[]).status(&service, at(1));
    assert!(publishes(&service, ip("203.0.113.7")) && !publishes(&service, ip("203.0.113.8")));
    service.status.as_mut().unwrap().conditions = None;
    assert!(!publishes(&service, ip("203.0.113.7")));
}

#[test]
fn the_uid_decides_between_claims_of_the_same_second() {
    let (one, two) = (bound("api", "203.0.113.7"), bound("web", "203.0.113.7"));
    assert!(matches!(of(&one, std::slice::from_ref(&two)).ingress, Ingress::Address(_)));
    assert_eq!(of(&two, &[one]).reason, reasons::ADDRESS_TAKEN);
}

#[test]
fn a_claim_that_holds_nothing_or_is_ending_takes_no_address_from_another() {
    let younger = created(bound("web", "203.0.113.7"), 9);
    let waiting = with_ready(bound("api", "203.0.113.7"), false, claim_reasons::ACQUIRING);
    let ending = deleting(bound("api", "203.0.113.7"));
    assert!(matches!(of(&younger, &[waiting, ending, younger.clone()]).ingress, Ingress::Address(_)));
}

#[test]
fn what_the_service_says_already_is_not_written_again() {
    let publication = of(&bound("web", "203.0.113.7"), &[]);
    let mut service = service("web").build();
    service.status = publication.status(&service, at(1));
    assert_eq!(publication.status(&service, at(9)), None);
}

#[test]
fn a_move_to_another_node_changes_nothing_in_the_service() {
    let before = of(&bound("web", "203.0.113.7"), &[]);
    let mut moved = bound("web", "203.0.113.7");
    moved.status.as_mut().unwrap().holder = Some("w2".into());
    moved.status.as_mut().unwrap().state = Some(ClaimState::Rebooting);
    assert_eq!(of(&moved, &[]), before);
}

#[test]
fn conditions_of_others_are_left_out_of_what_is_applied() {
    let publication = of(&bound("web", "203.0.113.7"), &[]);
    let mut service = service("web").build();
    let other = conditions::condition("example.com/Other", true, "Fine", "", None, at(1));
    service.status = Some(ServiceStatus { conditions: Some(vec![other]), load_balancer: None });
    let applied = publication.status(&service, at(1)).unwrap().conditions.unwrap();
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].type_, contract::SERVICE_CONDITION);
}

#[test]
fn an_address_in_use_that_a_node_claims_stays_published() {
    let claim = bound("web", "203.0.113.11");
    let published = |is_published| {
        of_claim(&claim, &plane("a").build(), &refused(), [], |_| is_published, &Validity::default())
    };
    assert_eq!(published(false).reason, claim_reasons::ADDRESS_REFUSED, "a new one is refused");
    let kept = published(true);
    assert_eq!(kept.ingress, Ingress::Address([203, 0, 113, 11].into()));
    assert!(kept.message.contains("; node w1 claims it too: remove it"), "{}", kept.message);
}

#[test]
fn the_gateway_of_a_classless_route_is_refused() {
    let mut claim = bound("web", "203.0.113.9");
    let lease = claim.status.as_mut().and_then(|status| status.lease.as_mut()).unwrap();
    let destination = "10.0.0.0/8".parse().unwrap();
    lease.routes = vec![ClaimRoute { destination, gateway: [203, 0, 113, 9].into() }];
    let refused = of(&claim, &[]);
    assert_eq!(refused.reason, claim_reasons::ADDRESS_REFUSED);
    assert!(refused.message.contains("the network's router"), "{}", refused.message);
}

#[test]
fn an_address_that_someone_added_or_cleared_is_a_difference() {
    let publication = of(&bound("web", "203.0.113.7"), &[]);
    let mut cleared = service("web").build();
    cleared.status = publication.status(&cleared, at(1));
    cleared.status.as_mut().unwrap().load_balancer = None;
    assert!(publication.status(&cleared, at(1)).is_some());
}

#[test]
fn an_address_of_ours_is_cleared_and_a_foreign_one_is_not() {
    let refusal = Publication::none(reasons::NAMESPACE_NOT_ALLOWED, "no");
    let cleared = |writers: &[&str], says_address: bool| {
        let mut service = service("web").build();
        service.status = of(&bound("web", "203.0.113.7"), &[]).status(&service, at(1));
        if !says_address {
            service.status.as_mut().unwrap().conditions = refusal.status(&service, at(1)).unwrap().conditions;
        }
        service.metadata.managed_fields = Some(writers.iter().copied().map(ingress_of).collect());
        let status = refusal.status(&service, at(2));
        status.and_then(|status| status.load_balancer).map(|balancer| balancer.ingress.unwrap().len())
    };
    assert_eq!(cleared(&[MANAGER], false), Some(0));
    assert_eq!(cleared(&["metallb-controller"], false), None);
    assert_eq!(cleared(&["metallb-controller"], true), None, "it has overwritten ours");
    assert_eq!(cleared(&[], true), Some(0), "the record of writers is gone");
    assert_eq!(cleared(&[], false), None);
}

#[test]
fn a_foreign_address_stays_until_there_is_one_to_write() {
    let mut service = service("web").build();
    service.status = of(&bound("web", "198.51.100.9"), &[]).status(&service, at(1));
    service.status.as_mut().unwrap().conditions = None;
    service.metadata.managed_fields = Some(vec![ingress_of("metallb-controller")]);
    let waiting = of(&claim("web"), &[]).status(&service, at(2)).unwrap();
    assert_eq!((waiting.load_balancer, waiting.conditions.unwrap().len()), (None, 1));
    let served = of(&bound("web", "203.0.113.7"), &[]).status(&service, at(3)).unwrap();
    let ingress = served.load_balancer.unwrap().ingress.unwrap();
    assert_eq!(ingress[0].ip.as_deref(), Some("203.0.113.7"));
}

#[test]
fn in_a_dispute_our_own_address_is_not_cleared() {
    let mut service = service("web").build();
    service.status = of(&bound("web", "203.0.113.7"), &[]).status(&service, at(1));
    service.metadata.managed_fields = Some(vec![ingress_of(MANAGER)]);
    let disputed = Publication { ingress: Ingress::Disputed, ..Publication::none("StatusDisputed", "x") };
    let status = disputed.status(&service, at(2)).unwrap();
    assert_eq!(status.load_balancer.unwrap().ingress.unwrap(), ingress(&service));
}

#[test]
fn a_disputed_address_is_left_to_whoever_writes_it() {
    let disputed = Publication { ingress: Ingress::Disputed, ..Publication::none("StatusDisputed", "x") };
    let status = disputed.status(&service("web").build(), at(1)).unwrap();
    assert_eq!(status.load_balancer, None);
    assert_eq!(status.conditions.unwrap()[0].status, "False");
}

#[test]
fn the_way_to_an_address_is_one_event() {
    let steps = [
        Publication::none(reasons::WAITING_FOR_PLANE, "waiting"),
        Publication::none(reasons::WAITING_FOR_ANNOUNCER, "waiting"),
        Publication::none(claim_reasons::ACQUIRING, "asking"),
        of(&bound("web", "203.0.113.7"), &[]),
        of(&bound("web", "203.0.113.7"), &[]),
    ];
    assert_eq!(events(&steps), ["AddressAssigned"]);
}

#[test]
fn a_lost_and_another_address_are_events() {
    let steps = [
        of(&bound("web", "203.0.113.7"), &[]),
        Publication::none(claim_reasons::LEASE_EXPIRED, "expired"),
        of(&bound("web", "203.0.113.8"), &[]),
        of(&bound("web", "203.0.113.9"), &[]),
    ];
    assert_eq!(events(&steps), ["AddressAssigned", "AddressLost", "AddressAssigned", "AddressAssigned"]);
}

#[test]
fn a_lasting_failure_is_one_event() {
    let silent = || Publication::none(claim_reasons::NO_DHCP_ANSWER, "no answer");
    assert_eq!(events(&[silent(), silent(), silent()]), ["NoDHCPAnswer"]);
}

#[test]
fn a_note_is_told_in_the_condition_and_is_no_event() {
    let noted = || of(&bound("web", "203.0.113.7"), &[]).with_note(Some("that does not count"));
    assert!(noted().message.ends_with("203.0.113.2; that does not count"), "{}", noted().message);
    assert_eq!(events(&[of(&bound("web", "203.0.113.7"), &[]), noted(), noted()]), ["AddressAssigned"]);
    let silent = || Publication::none(claim_reasons::NO_DHCP_ANSWER, "no answer");
    assert_eq!(events(&[silent(), silent().with_note(Some("that does not count"))]), ["NoDHCPAnswer"]);
    assert_eq!(silent().with_note(None), silent());
}

#[test]
fn an_address_that_is_written_again_after_someone_cleared_it_is_no_event() {
    let publication = of(&bound("web", "203.0.113.7"), &[]);
    let mut cleared = service("web").build();
    cleared.status = publication.status(&cleared, at(1));
    cleared.status.as_mut().unwrap().load_balancer = None;
    assert_eq!(transition(&cleared, &publication), None);
}

fn events(steps: &[Publication]) -> Vec<String> {
    let mut service = service("web").build();
    let mut events = vec![];
    for step in steps {
        events.extend(transition(&service, step).map(|notice| notice.reason));
        if let Some(status) = step.status(&service, at(1)) {
            service.status = Some(status);
        }
    }
    events
}

fn ingress_of(manager: &str) -> ManagedFieldsEntry {
    let fields = json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}});
    ManagedFieldsEntry {
        manager: Some(manager.into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }
}

/// The claim as the coordinator leaves it that finds no node for it.
fn unassigned(claim: AddressClaim) -> AddressClaim {
    let mut claim = with_ready(claim, false, claim_reasons::NO_SERVING_NODE);
    let status = claim.status.as_mut().unwrap();
    (status.state, status.address, status.holder) = (Some(ClaimState::Unassigned), None, None);
    claim
}

fn lapsed(claim: &AddressClaim) -> Publication {
    let validity = Validity { now: at(4000), lapsed: true, ..Validity::default() };
    of_claim(claim, &plane("a").build(), &refused(), [], |_| true, &validity)
}

fn of(claim: &AddressClaim, others: &[AddressClaim]) -> Publication {
    of_claim(claim, &plane("a").build(), &refused(), others, |_| false, &Validity::default())
}

fn refused() -> [RefusedNetwork; 1] {
    [RefusedNetwork { network: "203.0.113.11/32".parse().unwrap(), what: "node w1".into(), by_node: true }]
}
