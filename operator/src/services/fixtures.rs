//! Services, planes and claims for tests. A Service is `shop/<name>`; a plane's class is `foghorn.dev/<name>`.

use std::net::Ipv4Addr;

use foghorn_crds::{
    AddressClaim, AddressClaimStatus, ClaimLease, ClaimState, DhcpRequest, NetworkPlane, NetworkPlaneStatus,
    conditions::{self, reasons},
    fixtures::{self, lease},
};
use http::{Request, Response};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement, MicroTime, Time},
    jiff::Timestamp,
};
use kube::{Client, client::Body, core::ObjectMeta};
use serde_json::Value;

use super::claim::desired;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[derive(Clone)]
pub(crate) struct ServiceFixture(Service);

/// `shop/<name>`, a load balancer of no class.
pub(crate) fn service(name: &str) -> ServiceFixture {
    let port = ServicePort { name: Some("http".into()), port: 80, ..ServicePort::default() };
    ServiceFixture(Service {
        metadata: ObjectMeta {
            namespace: Some("shop".into()),
            name: Some(name.into()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some("1".into()),
            creation_timestamp: Some(Time(at(1))),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".into()),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

impl ServiceFixture {
    pub(crate) fn build(&self) -> Service {
        self.0.clone()
    }

    pub(crate) fn of_class(self, plane: &str) -> Self {
        self.with_class(&format!("foghorn.dev/{plane}"))
    }

    pub(crate) fn with_class(self, class: &str) -> Self {
        self.spec(|spec| spec.load_balancer_class = Some(class.into()))
    }

    pub(crate) fn of_type(self, type_: &str) -> Self {
        self.spec(|spec| spec.type_ = Some(type_.into()))
    }

    pub(crate) fn local(self) -> Self {
        self.spec(|spec| spec.external_traffic_policy = Some("Local".into()))
    }

    pub(crate) fn load_balancer_ip(self, value: &str) -> Self {
        self.spec(|spec| spec.load_balancer_ip = Some(value.into()))
    }

    pub(crate) fn families(self, policy: &str, families: &[&str]) -> Self {
        self.spec(|spec| {
            spec.ip_family_policy = Some(policy.into());
            spec.ip_families = Some(families.iter().map(|&family| family.into()).collect());
        })
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.annotations.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    /// Names, numbers and protocols; no protocol is said where it is empty.
    pub(crate) fn ports(self, ports: &[(&str, i32, &str)]) -> Self {
        let ports = ports.iter().map(|&(name, port, protocol)| ServicePort {
            name: Some(name.into()),
            port,
            protocol: Some(protocol.into()).filter(|protocol: &String| !protocol.is_empty()),
            ..ServicePort::default()
        });
        let ports = ports.collect();
        self.spec(|spec| spec.ports = Some(ports))
    }

    fn spec(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(self.0.spec.get_or_insert_default());
        self
    }
}

#[derive(Clone)]
pub(crate) struct PlaneFixture(NetworkPlane);

/// An accepted plane of the class `foghorn.dev/<name>`.
pub(crate) fn plane(name: &str) -> PlaneFixture {
    let mut plane = fixtures::plane(name, &format!("foghorn.dev/{name}"));
    plane.metadata.creation_timestamp = Some(Time(at(1)));
    PlaneFixture(plane).accepted(true, "Accepted")
}

impl PlaneFixture {
    pub(crate) fn build(&self) -> NetworkPlane {
        self.0.clone()
    }

    pub(crate) fn default_plane(mut self) -> Self {
        self.0.spec.default = true;
        self
    }

    pub(crate) fn with_class(mut self, class: &str) -> Self {
        self.0.spec.load_balancer_class = class.into();
        self
    }

    pub(crate) fn younger(mut self) -> Self {
        self.0.metadata.creation_timestamp = Some(Time(at(2)));
        self
    }

    pub(crate) fn deleting(mut self) -> Self {
        self.0.metadata.deletion_timestamp = Some(Time(at(5)));
        self
    }

    pub(crate) fn rejected(self, reason: &str) -> Self {
        self.accepted(false, reason)
    }

    /// With a subnet that is none.
    pub(crate) fn invalid(mut self) -> Self {
        self.0.spec.allowed_subnets = vec!["203.0.113.0/33".into()];
        self
    }

    pub(crate) fn new_one(mut self) -> Self {
        self.0.status = None;
        self
    }

    /// Its status says that so many are ready, as in `2/3`, and that these nodes take part.
    pub(crate) fn with_announcers(mut self, nodes: Option<&str>, members: &[&str]) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.nodes = nodes.map(Into::into);
        status.members = members.iter().map(|&member| member.into()).collect();
        self
    }

    fn accepted(mut self, accepted: bool, reason: &str) -> Self {
        let condition = conditions::condition(conditions::ACCEPTED, accepted, reason, "", None, at(1));
        self.0.status =
            Some(NetworkPlaneStatus { conditions: vec![condition], ..NetworkPlaneStatus::default() });
        self
    }
}

pub(crate) fn selector(key: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: Some([(key.into(), value.into())].into()), match_expressions: None }
}

pub(crate) fn invalid_selector() -> LabelSelector {
    let requirement = LabelSelectorRequirement {
        key: "stage".into(),
        operator: "Near".into(),
        values: Some(vec!["prod".into()]),
    };
    LabelSelector { match_labels: None, match_expressions: Some(vec![requirement]) }
}

/// The claim of `shop/<service>` on plane `a`, which nobody has taken up.
pub(crate) fn claim(name: &str) -> AddressClaim {
    let mut claim = desired(&service(name).build(), &plane("a").build(), &DhcpRequest::default(), None, None);
    claim.metadata.uid = Some(format!("uid-claim-{name}"));
    claim.metadata.resource_version = Some("1".into());
    claim.metadata.creation_timestamp = Some(Time(at(3)));
    claim
}

/// As [`claim`], with an address that is announced.
pub(crate) fn bound(name: &str, address: &str) -> AddressClaim {
    let mut claim = claim(name);
    claim.status = Some(AddressClaimStatus {
        state: Some(ClaimState::Bound),
        address: Some(ip(address)),
        holder: Some("w1".into()),
        lease: Some(ClaimLease {
            acquired_at: MicroTime(at(4)),
            expires_at: Some(MicroTime(at(3604))),
            ..lease(ip(address))
        }),
        ..AddressClaimStatus::default()
    });
    with_ready(claim, true, reasons::ANNOUNCED)
}

pub(crate) fn with_ready(mut claim: AddressClaim, ready: bool, reason: &str) -> AddressClaim {
    let condition = conditions::condition(conditions::READY, ready, reason, "", None, at(4));
    conditions::set(&mut claim.status.get_or_insert_default().conditions, condition);
    claim
}

pub(crate) fn created(mut claim: AddressClaim, second: i64) -> AddressClaim {
    claim.metadata.creation_timestamp = Some(Time(at(second)));
    claim
}

pub(crate) fn deleting(mut claim: AddressClaim) -> AddressClaim {
    claim.metadata.deletion_timestamp = Some(Time(at(20)));
    claim
}

/// An API server that gives one answer, and tells what it was asked: method and path, and the body, null if there is none.
pub(crate) fn server(code: u16, answer: Value) -> (Client, tokio::task::JoinHandle<(String, Value)>) {
    let (service, mut requests) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let serve = tokio::spawn(async move {
        let (request, send) = requests.next_request().await.unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect_bytes().await.unwrap();
        let answer = Body::from(serde_json::to_vec(&answer).unwrap());
        send.send_response(Response::builder().status(code).body(answer).unwrap());
        (line, serde_json::from_slice(&body).unwrap_or_default())
    });
    (Client::new(service, "default"), serve)
}
