//! What is said of a plane in its status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use foghorn_crds::{
    AddressClaim, IdentityInUse, NetworkPlane, NetworkPlaneStatus, NodePreference, PlanePorts,
    conditions::{self, ACCEPTED, ANNOUNCERS_READY, HEARTBEAT_UDP, HEARTBEAT_WIRE, READY, condition},
    contract,
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetStatus},
        coordination::v1::Lease,
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    acceptance::{ACCEPTED_REASON, NotAccepted, TWO_DEFAULTS},
    findings::{self, Finding},
    pods::{self, join},
    view::Seen,
};

/// Reasons of this module's conditions.
pub(super) mod reasons {
    /// All is well.
    pub(in crate::planes) const READY: &str = "Ready";
    /// As many announcers run as are wanted.
    pub(in crate::planes) const ANNOUNCERS_READY: &str = "AnnouncersReady";
    /// The announcers have been asked for, and nothing is known of them yet.
    pub(in crate::planes) const STARTING: &str = "Starting";
    /// No node matches.
    pub(in crate::planes) const NO_NODES: &str = "NoNodes";
    /// Pods cannot be made: pod security, quota.
    pub(in crate::planes) const FAILED_CREATE: &str = "FailedCreate";
    /// Pods run and are not ready, or do not run.
    pub(in crate::planes) const NOT_READY: &str = "AnnouncersNotReady";
    /// The plane is not accepted, so it has no announcers.
    pub(in crate::planes) const NOT_ACCEPTED: &str = "NotAccepted";
    /// Announcers have not said yet how their interface is.
    pub(in crate::planes) const NOT_REPORTED: &str = "NotReported";
    /// Different things are wrong on different nodes.
    pub(in crate::planes) const INTERFACES_NOT_READY: &str = "InterfacesNotReady";
    /// Every node may have addresses.
    pub(in crate::planes) const ALL_NODES: &str = "AllNodes";
    /// Some nodes have addresses only while no other can.
    pub(in crate::planes) const NODES_PASSED_OVER: &str = "NodesPassedOver";
    /// All nodes would be passed over, so none is.
    pub(in crate::planes) const NO_OTHER_NODE: &str = "NoOtherNode";
    /// The plane is being deleted.
    pub(in crate::planes) const DELETING: &str = "Deleting";
}

/// What is known of a plane.
pub(super) struct Observed<'a> {
    /// The plane.
    pub(super) plane: &'a NetworkPlane,
    /// Why it is not run as its spec says, if so.
    pub(super) not_accepted: Option<&'a NotAccepted>,
    /// Other planes that say they are the default one, if this one does.
    pub(super) other_defaults: &'a [String],
    /// Its ports.
    pub(super) ports: Option<PlanePorts>,
    /// Its announcers, as they are wanted.
    pub(super) daemon_set: Option<&'a DaemonSet>,
    /// Its announcers, as they are.
    pub(super) pods: &'a [Arc<Pod>],
    /// What there is to say of its nodes.
    pub(super) nodes: &'a BTreeMap<String, NodePreference>,
    /// Why no Pods can be made, as the DaemonSet's last event says.
    pub(super) failed_create: Option<&'a str>,
    /// Its claims.
    pub(super) claims: &'a [Arc<AddressClaim>],
    /// Its Lease.
    pub(super) lease: Option<&'a Lease>,
}

impl Observed<'_> {
    /// The plane's status, built upon the one that it has.
    #[must_use]
    pub(super) fn status(&self, now: Timestamp) -> NetworkPlaneStatus {
        let generation = self.plane.metadata.generation;
        let mut conditions =
            self.plane.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        let findings = self.findings();
        for Finding { type_, holds, reason, message } in &findings {
            let new = condition(type_, *holds, reason, message.clone(), generation, now);
            conditions::set(&mut conditions, new);
        }
        conditions.retain(|condition| findings.iter().any(|finding| finding.type_ == condition.type_));
        let set = self.daemon_set.and_then(|set| set.status.as_ref());
        let identities: BTreeSet<_> = self.claims.iter().filter_map(|claim| identity_in_use(claim)).collect();
        let with_address = self.claims.iter().filter(|claim| has_address(claim)).count();
        let view = self.lease.map(Seen::of).unwrap_or_default();
        NetworkPlaneStatus {
            observed_generation: generation,
            namespace: Some(contract::plane_namespace(&self.plane.name_any())),
            lease_name: Some(self.plane.lease_name()),
            ports: self.ports,
            nodes: set.map(|set| format!("{}/{}", set.number_ready, set.desired_number_scheduled)),
            addresses: Some(format!("{with_address}/{}", self.claims.len())),
            coordinator: view.coordinator,
            view: view.epoch.map(|epoch| epoch.to_string()),
            members: view.members,
            identities: identities.into_iter().collect(),
            conditions,
        }
    }

    /// How many Pods are wanted and not there.
    #[must_use]
    pub(super) fn missing_pods(daemon_set: Option<&DaemonSet>) -> i32 {
        let status = daemon_set.and_then(|set| set.status.as_ref());
        status.map_or(0, |status| status.desired_number_scheduled - status.current_number_scheduled)
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.accepted(), self.announcers(), findings::interfaces(self.pods)];
        let ready = match findings.iter().find(|finding| !finding.holds) {
            _ if self.plane.metadata.deletion_timestamp.is_some() => {
                let left = self.claims.len();
                let message = match left {
                    0 => "the plane's namespace is being deleted".to_owned(),
                    left => format!("{left} addresses are still to be released"),
                };
                Finding::new(READY, false, reasons::DELETING, message)
            }
            Some(cause) => Finding::new(READY, false, cause.reason.clone(), cause.message.clone()),
            None => Finding::new(READY, true, reasons::READY, String::new()),
        };
        findings.insert(0, ready);
        findings.extend(findings::heartbeats(self.pods, HEARTBEAT_WIRE, contract::HEARTBEAT_WIRE_CONDITION));
        findings.extend(findings::heartbeats(self.pods, HEARTBEAT_UDP, contract::HEARTBEAT_UDP_CONDITION));
        findings.extend(findings::datapath(self.plane, self.pods));
        findings.extend(findings::placement(self.pods, self.nodes));
        if !self.other_defaults.is_empty() {
            let message = format!(
                "{} is a default plane too: no Service without a class is newly served until only one is",
                self.other_defaults.join(", ")
            );
            findings.push(Finding::new(TWO_DEFAULTS, true, TWO_DEFAULTS, message));
        }
        findings
    }

    fn accepted(&self) -> Finding {
        match self.not_accepted {
            Some(why) => Finding::new(ACCEPTED, false, why.reason(), why.to_string()),
            None => Finding::new(ACCEPTED, true, ACCEPTED_REASON, String::new()),
        }
    }

    fn announcers(&self) -> Finding {
        let finding =
            |holds, reason: &str, message: String| Finding::new(ANNOUNCERS_READY, holds, reason, message);
        let Some(set) = self.daemon_set else {
            return match self.not_accepted {
                Some(_) => finding(
                    false,
                    reasons::NOT_ACCEPTED,
                    "no announcers run, since the plane is not accepted".to_owned(),
                ),
                None => finding(false, reasons::STARTING, "the announcers are being started".to_owned()),
            };
        };
        let Some(status) = set.status.as_ref().filter(|status| status.observed_generation.is_some()) else {
            return finding(false, reasons::STARTING, "the announcers are being started".to_owned());
        };
        if let Some(why) = self.failed_create {
            return finding(false, reasons::FAILED_CREATE, format!("announcers cannot be made: {why}"));
        }
        let DaemonSetStatus { desired_number_scheduled: desired, number_ready: ready, .. } = *status;
        if desired == 0 {
            let message = "no Linux node matches nodeSelector and tolerations".to_owned();
            return finding(false, reasons::NO_NODES, message);
        }
        if ready < desired {
            let message = format!("{ready} of {desired} announcers are ready{}", self.unready());
            return finding(false, reasons::NOT_READY, message);
        }
        finding(true, reasons::ANNOUNCERS_READY, format!("{ready} of {desired} announcers are ready"))
    }

    /// The nodes whose announcers are not ready, and what their containers wait for.
    fn unready(&self) -> String {
        let unready = pods::living(self.pods).filter(|pod| !pods::is_ready(pod)).map(|pod| {
            let node = pods::node_of(pod).unwrap_or("no node yet");
            match pods::waiting_for(pod) {
                Some(reason) => format!("{node} ({reason})"),
                None => node.to_owned(),
            }
        });
        let unready: BTreeSet<_> = unready.collect();
        if unready.is_empty() { String::new() } else { format!("; not ready: {}", join(&unready, ", ")) }
    }
}

/// The conditions of `new` whose status or reason is another than in `old`: what events tell.
pub(super) fn transitions<'a>(
    old: &'a [Condition],
    new: &'a [Condition],
) -> impl Iterator<Item = &'a Condition> {
    new.iter().filter(|new| match conditions::get(old, &new.type_) {
        Some(old) => old.status != new.status || old.reason != new.reason,
        None => true,
    })
}

fn has_address(claim: &AddressClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.address.is_some())
}

/// How the frames of the claim's DHCP client are made, once that is known.
pub(super) fn identity_in_use(claim: &AddressClaim) -> Option<IdentityInUse> {
    claim.status.as_ref()?.identity.as_ref()?.mode
}

#[cfg(test)]
mod tests {
    use foghorn_crds::{
        AddressClaimStatus, ClaimIdentity,
        conditions::{INTERFACES_READY, PLACEMENT, reasons::PATH_NEVER_HEARD},
    };
    use k8s_openapi::api::core::v1::{ContainerState, ContainerStateWaiting, ContainerStatus};

    use super::*;
    use crate::planes::{
        acceptance::Conflict,
        fixtures::{self, pod, ready_pod, with_condition},
    };

    #[test]
    fn a_plane_whose_announcers_and_interfaces_are_in_order_is_ready() {
        let status = World::default().status();
        assert_eq!(told(&status, READY), ("True", "Ready", ""));
        assert_eq!(status.nodes.as_deref(), Some("2/2"));
        assert_eq!(status.addresses.as_deref(), Some("1/2"));
        assert_eq!(status.coordinator.as_deref(), Some("w1"));
        assert_eq!(status.view.as_deref(), Some("1767225600.7.0"));
        assert_eq!(status.members, ["w1", "w2"]);
        assert_eq!(status.namespace.as_deref(), Some("foghorn-blue"));
        assert_eq!(status.lease_name.as_deref(), Some("foghorn-blue"));
        assert_eq!(status.observed_generation, Some(1));
    }

    #[test]
    fn the_same_state_gives_the_same_status_at_any_later_time() {
        let mut world = World::default();
        let status = world.status();
        world.plane.status = Some(status.clone());
        world.second = 99;
        assert_eq!(world.status(), status);
        assert_eq!(transitions(&status.conditions, &world.status().conditions).count(), 0);
    }

    #[test]
    fn a_plane_that_waits_says_for_which_other_one() {
        let world = World {
            not_accepted: Some(NotAccepted::Conflict(Conflict::ClassTaken {
                class: "x.dev/a".into(),
                other: "red".into(),
            })),
            set: None,
            pods: Vec::new(),
            ..World::default()
        };
        let status = world.status();
        let (holds, reason, message) = told(&status, ACCEPTED);
        assert_eq!((holds, reason), ("False", "ClassTaken"));
        assert!(message.contains("red"), "{message}");
        assert_eq!(told(&status, READY).1, "ClassTaken");
        assert_eq!(told(&status, ANNOUNCERS_READY).1, "NotAccepted");
        assert_eq!(status.nodes, None);
    }

    #[test]
    fn what_keeps_pods_from_being_made_is_said() {
        let world = World {
            set: Some(set(2, 0, 0)),
            pods: Vec::new(),
            failed_create: Some("violates PodSecurity".into()),
            ..World::default()
        };
        let status = world.status();
        let (holds, reason, message) = told(&status, ANNOUNCERS_READY);
        assert_eq!((holds, reason), ("False", "FailedCreate"));
        assert!(message.contains("violates PodSecurity"), "{message}");
        assert_eq!(Observed::missing_pods(world.set.as_ref()), 2);
    }

    #[test]
    fn an_announcer_that_is_not_ready_is_named_with_what_it_waits_for() {
        let mut waiting = pod("w2", None);
        let status = waiting.status.get_or_insert_default();
        status.conditions = None;
        status.container_statuses = Some(vec![ContainerStatus {
            state: Some(ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some("ImagePullBackOff".into()),
                    ..ContainerStateWaiting::default()
                }),
                ..ContainerState::default()
            }),
            ..ContainerStatus::default()
        }]);
        let world = World {
            set: Some(set(2, 2, 1)),
            pods: vec![ready_pod("w1").into(), waiting.into()],
            ..World::default()
        };
        let status = world.status();
        let expected = "1 of 2 announcers are ready; not ready: w2 (ImagePullBackOff)";
        assert_eq!(told(&status, ANNOUNCERS_READY), ("False", "AnnouncersNotReady", expected));
        assert_eq!(status.nodes.as_deref(), Some("1/2"));
    }

    #[test]
    fn a_node_without_the_interface_is_named_with_its_message() {
        let world = World {
            pods: vec![
                ready_pod("w1").into(),
                pod("w2", Some(("False", "InterfaceNotFound", "no interface is named eth1"))).into(),
            ],
            ..World::default()
        };
        let status = world.status();
        let expected = ("False", "InterfaceNotFound", "node w2: no interface is named eth1");
        assert_eq!(told(&status, INTERFACES_READY), expected);
        assert_eq!(told(&status, READY), expected);
    }

    #[test]
    fn an_announcer_that_has_said_nothing_keeps_the_plane_from_being_ready() {
        let pods = vec![ready_pod("w1").into(), pod("w2", None).into()];
        let status = World { pods, ..World::default() }.status();
        assert_eq!(told(&status, INTERFACES_READY).1, "NotReported");
    }

    #[test]
    fn a_plane_without_a_matching_node_says_so() {
        let status = World { set: Some(set(0, 0, 0)), pods: Vec::new(), ..World::default() }.status();
        assert_eq!(told(&status, ANNOUNCERS_READY).1, "NoNodes");
    }

    #[test]
    fn two_defaults_are_a_condition_that_goes_with_its_cause() {
        let mut world = World { other_defaults: vec!["red".into()], ..World::default() };
        let status = world.status();
        let (holds, reason, message) = told(&status, TWO_DEFAULTS);
        assert_eq!((holds, reason), ("True", "TwoDefaults"));
        assert!(message.contains("red"), "{message}");
        assert_eq!(told(&status, READY).0, "True");
        world.plane.status = Some(status);
        world.other_defaults.clear();
        assert!(conditions::get(&world.status().conditions, TWO_DEFAULTS).is_none());
    }

    #[test]
    fn the_ways_in_which_frames_are_made_are_shown_once_each() {
        let modes = [
            Some(IdentityInUse::NodeMac),
            None,
            Some(IdentityInUse::VirtualMac),
            Some(IdentityInUse::NodeMac),
        ];
        let claims = modes.map(known).to_vec();
        let status = World { claims, ..World::default() }.status();
        assert_eq!(status.identities, [IdentityInUse::VirtualMac, IdentityInUse::NodeMac]);
        assert_eq!(World::default().status().identities, []);
    }

    #[test]
    fn a_way_that_is_not_heard_on_and_a_node_that_is_passed_over_keep_no_plane_from_being_ready() {
        let mut world = World::default();
        let wire = contract::HEARTBEAT_WIRE_CONDITION;
        let deaf = with_condition(ready_pod("w1"), wire, "False", PATH_NEVER_HEARD, "not heard on eth1: w2");
        world.pods.insert(0, deaf.into());
        let avoid = vec!["cordoned".to_owned()];
        world.nodes.insert("w2".into(), NodePreference { avoid, ..NodePreference::default() });
        let status = world.status();
        assert_eq!(told(&status, HEARTBEAT_WIRE).0, "False");
        assert_eq!(told(&status, PLACEMENT).0, "False");
        assert_eq!(told(&status, READY).0, "True");
        assert!(conditions::get(&status.conditions, HEARTBEAT_UDP).is_none(), "nobody speaks of it");
    }

    #[test]
    fn a_plane_without_a_view_shows_none() {
        let status = World { lease: Lease::default(), ..World::default() }.status();
        assert_eq!((status.coordinator, status.view, status.members.len()), (None, None, 0));
    }

    struct World {
        plane: NetworkPlane,
        not_accepted: Option<NotAccepted>,
        other_defaults: Vec<String>,
        set: Option<DaemonSet>,
        pods: Vec<Arc<Pod>>,
        nodes: BTreeMap<String, NodePreference>,
        failed_create: Option<String>,
        claims: Vec<Arc<AddressClaim>>,
        lease: Lease,
        second: i64,
    }

    impl Default for World {
        fn default() -> Self {
            Self {
                plane: fixtures::plane("blue", "x.dev/blue"),
                not_accepted: None,
                other_defaults: Vec::new(),
                set: Some(set(2, 2, 2)),
                pods: vec![ready_pod("w1").into(), ready_pod("w2").into()],
                nodes: BTreeMap::new(),
                failed_create: None,
                claims: vec![claim("a", Some([203, 0, 113, 7])), claim("b", None)],
                lease: fixtures::lease("w1_00000000000000ab", 7, &["w1", "w2"]),
                second: 1,
            }
        }
    }

    impl World {
        fn status(&self) -> NetworkPlaneStatus {
            Observed {
                plane: &self.plane,
                not_accepted: self.not_accepted.as_ref(),
                other_defaults: &self.other_defaults,
                ports: Some(PlanePorts { metrics: 17400, probes: 17401, return_path: None }),
                daemon_set: self.set.as_ref(),
                pods: &self.pods,
                nodes: &self.nodes,
                failed_create: self.failed_create.as_deref(),
                claims: &self.claims,
                lease: Some(&self.lease),
            }
            .status(Timestamp::from_second(self.second).unwrap())
        }
    }

    fn told<'a>(status: &'a NetworkPlaneStatus, type_: &str) -> (&'a str, &'a str, &'a str) {
        let condition = conditions::get(&status.conditions, type_).unwrap();
        (&condition.status, &condition.reason, &condition.message)
    }

    fn set(desired: i32, current: i32, ready: i32) -> DaemonSet {
        DaemonSet {
            status: Some(DaemonSetStatus {
                desired_number_scheduled: desired,
                current_number_scheduled: current,
                number_ready: ready,
                observed_generation: Some(1),
                ..DaemonSetStatus::default()
            }),
            ..DaemonSet::default()
        }
    }

    fn claim(name: &str, address: Option<[u8; 4]>) -> Arc<AddressClaim> {
        with_status(
            name,
            AddressClaimStatus { address: address.map(Into::into), ..AddressClaimStatus::default() },
        )
    }

    /// A claim whose announcer has said who it is to the DHCP server.
    fn known(mode: Option<IdentityInUse>) -> Arc<AddressClaim> {
        let identity = ClaimIdentity {
            hardware_address: "02:00:5e:10:00:01".into(),
            client_id: "ff01".into(),
            seed: None,
            mode,
        };
        let status = AddressClaimStatus { identity: Some(identity), ..AddressClaimStatus::default() };
        with_status("c", status)
    }

    fn with_status(name: &str, status: AddressClaimStatus) -> Arc<AddressClaim> {
        AddressClaim { status: Some(status), ..foghorn_crds::fixtures::claim(name) }.into()
    }
}
