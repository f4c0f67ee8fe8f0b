//! The announcers of a plane.

use std::{collections::BTreeMap, iter};

use foghorn_crds::{GuardMode, HostAddressMode, NetworkPlane, PlanePorts, ReturnPathMode, contract};
use foghorn_shell::logs::Format;
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet},
        core::v1::{
            Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
            HTTPGetAction, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
            ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::ResourceExt;

use super::children;
use crate::args::Run;

/// Where an announcer keeps what it needs when it is restarted while the API server is away.
const STATE_PATH: &str = "/var/lib/foghorn";

const NAME_LABEL: (&str, &str) = ("app.kubernetes.io/name", "foghorn-announcer");
/// The variable of the Pod that has the node's own address.
const HOST_IP: &str = "HOST_IP";
const HEARTBEAT_VOLUME: &str = "heartbeat";
const STATE_VOLUME: &str = "state";
const DEFAULT_PRIORITY_CLASS: &str = "system-node-critical";
/// The user of the image, whose binary has the file capability `cap_net_raw`.
const USER: i64 = 65532;
/// The same binary with the file capability `cap_net_admin` too, which cannot be started without it.
const NET_ADMIN_BINARY: &str = "/foghorn-announcer-net-admin";
/// For a hand-over of the addresses; a node that shuts down waits no longer for critical Pods.
const GRACE_SECONDS: i64 = 10;
/// A new announcer has been let in and can take addresses over before the next one is replaced.
const READY_SECONDS: i32 = 2;

/// The announcers of `plane`, as the operator's `options` say. With `leaves_datapath` they keep the container that removes
/// what it has put on the nodes, although the plane wants nothing more of it.
#[must_use]
pub(super) fn daemon_set(
    plane: &NetworkPlane,
    ports: PlanePorts,
    options: &Run,
    leaves_datapath: bool,
) -> DaemonSet {
    let datapath = (leaves_datapath || wants_datapath(plane)).then(|| datapath(plane, options));
    let name = plane.name_any();
    let mut labels = children::labels(&name);
    labels.insert(NAME_LABEL.0.to_owned(), NAME_LABEL.1.to_owned());
    let mut metadata = children::metadata(plane, contract::ANNOUNCER_NAME);
    metadata.labels = Some(labels.clone());
    DaemonSet {
        metadata,
        spec: Some(DaemonSetSpec {
            selector: LabelSelector { match_labels: Some(pod_labels(&name)), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(pod(plane, ports, options, datapath)),
            },
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::Int(1)),
                    ..RollingUpdateDaemonSet::default()
                }),
            }),
            min_ready_seconds: Some(READY_SECONDS),
            revision_history_limit: Some(3),
        }),
        status: None,
    }
}

/// Labels by which a plane's announcer Pods are known.
#[must_use]
pub(super) fn pod_labels(plane: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (NAME_LABEL.0.to_owned(), NAME_LABEL.1.to_owned()),
        (contract::PLANE_LABEL.to_owned(), plane.to_owned()),
    ])
}

fn pod(plane: &NetworkPlane, ports: PlanePorts, options: &Run, datapath: Option<Container>) -> PodSpec {
    let spec = &plane.spec;
    let mut node_selector = spec.node_selector.clone();
    node_selector.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    let priority_class = spec.priority_class_name.clone();
    PodSpec {
        service_account_name: Some(contract::ANNOUNCER_NAME.to_owned()),
        host_network: Some(true),
        // The API server is found by its address; the cluster's DNS may depend on what announcers announce.
        dns_policy: Some("Default".to_owned()),
        enable_service_links: Some(false),
        node_selector: Some(node_selector),
        tolerations: Some(spec.tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
        priority_class_name: Some(priority_class.unwrap_or_else(|| DEFAULT_PRIORITY_CLASS.to_owned())),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        containers: iter::once(container(plane, ports, options, datapath.is_some()))
            .chain(datapath)
            .collect(),
        volumes: Some(volumes()),
        ..PodSpec::default()
    }
}

/// The heartbeat keys, and the announcer's state, which is gone with its Pod.
fn volumes() -> Vec<Volume> {
    let keys = SecretVolumeSource {
        secret_name: Some(contract::HEARTBEAT_SECRET.to_owned()),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    let state = EmptyDirVolumeSource { size_limit: Some(Quantity("64Mi".to_owned())), ..Default::default() };
    vec![
        Volume { name: HEARTBEAT_VOLUME.to_owned(), secret: Some(keys), ..Volume::default() },
        Volume { name: STATE_VOLUME.to_owned(), empty_dir: Some(state), ..Volume::default() },
    ]
}

fn container(plane: &NetworkPlane, ports: PlanePorts, options: &Run, datapath: bool) -> Container {
    let fenced = plane.spec.host_address.mode == HostAddressMode::Fenced || plane.spec.forwards_ports();
    let net_admin = fenced.then(|| "NET_ADMIN".to_owned());
    Container {
        name: contract::ANNOUNCER_NAME.to_owned(),
        command: fenced.then(|| vec![NET_ADMIN_BINARY.to_owned()]),
        image: Some(options.announcer_image.clone()),
        image_pull_policy: Some(options.announcer_image_pull_policy.clone()),
        args: Some(arguments(plane, ports, options, datapath)),
        env: Some(vec![
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_NAME", "metadata.name"),
            field("NODE_NAME", "spec.nodeName"),
            field(HOST_IP, "status.hostIP"),
        ]),
        ports: Some(vec![
            port("metrics", "TCP", ports.metrics),
            port("probes", "TCP", ports.probes),
            // By UDP the same number is another port.
            port("heartbeat", "UDP", ports.metrics),
        ]),
        resources: Some(plane.spec.resources.clone().unwrap_or_else(default_resources)),
        liveness_probe: Some(Probe { failure_threshold: Some(3), ..probe("/healthz", ports.probes, 10) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", ports.probes, 2) }),
        // `allowPrivilegeEscalation: false` would keep the kernel from giving the binary its file capability.
        security_context: Some(SecurityContext {
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(iter::once("NET_RAW".to_owned()).chain(net_admin).collect()),
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount { read_only: Some(true), ..mount(HEARTBEAT_VOLUME, contract::HEARTBEAT_KEYS_PATH) },
            mount(STATE_VOLUME, STATE_PATH),
        ]),
        ..Container::default()
    }
}

fn arguments(plane: &NetworkPlane, ports: PlanePorts, options: &Run, datapath: bool) -> Vec<String> {
    let mut arguments = vec![
        format!("--plane={}", plane.name_any()),
        format!("--metrics-address={}:{}", metrics_address(options), ports.metrics),
        format!("--probe-address=127.0.0.1:{}", ports.probes),
        format!("--heartbeat-port={}", ports.metrics),
        format!("--heartbeat-keys={}", contract::HEARTBEAT_KEYS_PATH),
        format!("--state={STATE_PATH}"),
        format!("--log-format={}", log_format(options)),
        format!("--log-level={}", options.log.log_level),
    ];
    if datapath {
        arguments.push(format!("--datapath-socket={}", contract::DATAPATH_SOCKET));
    }
    arguments
}

/// The address of the node at which its announcers serve metrics, in brackets: its own, by which monitoring finds the Pod,
/// or another one that the administrator names.
fn metrics_address(options: &Run) -> String {
    match options.announcer_metrics_address {
        Some(address) => format!("[{address}]"),
        // The kubelet puts it in; of which family it is is not known here.
        None => format!("[$({HOST_IP})]"),
    }
}

/// Whether the plane has something on the nodes' network.
pub(crate) fn wants_datapath(plane: &NetworkPlane) -> bool {
    plane.spec.return_path_mode() != ReturnPathMode::Off || plane.spec.guard_mode() != GuardMode::Off
}

/// The container that changes the node's network, for a plane that asks for what needs that. It is root without any right
/// of root but the one over the network; a right that a cluster's policy takes away is missed and told, no more.
fn datapath(plane: &NetworkPlane, options: &Run) -> Container {
    Container {
        name: contract::DATAPATH_NAME.to_owned(),
        image: Some(options.datapath_image.clone()),
        image_pull_policy: Some(options.datapath_image_pull_policy.clone()),
        args: Some(vec![
            format!("--plane={}", plane.name_any()),
            format!("--socket={}", contract::DATAPATH_SOCKET),
            format!("--log-format={}", log_format(options)),
            format!("--log-level={}", options.log.log_level),
        ]),
        resources: Some(requests("5m", "8Mi")),
        security_context: Some(SecurityContext {
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(vec!["NET_ADMIN".to_owned()]),
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount(STATE_VOLUME, STATE_PATH)]),
        ..Container::default()
    }
}

const fn log_format(options: &Run) -> &'static str {
    match options.log.log_format {
        Format::Json => "json",
        Format::Text => "text",
    }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// No CPU limit: a throttled announcer would answer ARP late.
fn default_resources() -> ResourceRequirements {
    requests("10m", "24Mi")
}

fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    let quantity = |name: &str, amount: &str| (name.to_owned(), Quantity(amount.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)])),
        ..ResourceRequirements::default()
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: path.to_owned(), api_version: Some("v1".to_owned()) };
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() }),
        ..EnvVar::default()
    }
}

/// On the nodes' network a container's port is a node's port: the scheduler then puts no second Pod on it.
fn port(name: &str, protocol: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        host_port: Some(number.into()),
        protocol: Some(protocol.to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, port: u16, period_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            host: Some("127.0.0.1".to_owned()),
            path: Some(path.to_owned()),
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

#[cfg(test)]
mod tests {
    use foghorn_crds::PortForwardingMode;
    use k8s_openapi::api::core::v1::Toleration;

    use super::*;
    use crate::planes::fixtures::{options, plane};

    #[test]
    fn announcers_are_told_who_they_are_and_which_ports_are_theirs() {
        let container = container_of(&build(&plane("blue", "x.dev/blue")));
        assert_eq!(
            container.args.unwrap(),
            [
                "--plane=blue",
                "--metrics-address=[$(HOST_IP)]:17402",
                "--probe-address=127.0.0.1:17403",
                "--heartbeat-port=17402",
                "--heartbeat-keys=/etc/foghorn/heartbeat",
                "--state=/var/lib/foghorn",
                "--log-format=text",
                "--log-level=info",
            ]
        );
        let fields: Vec<_> = container
            .env
            .unwrap()
            .into_iter()
            .map(|env| (env.name, env.value_from.unwrap().field_ref.unwrap().field_path))
            .collect();
        assert!(fields.contains(&("NODE_NAME".into(), "spec.nodeName".into())));
        assert!(fields.contains(&("POD_NAMESPACE".into(), "metadata.namespace".into())));
        assert!(fields.contains(&("POD_NAME".into(), "metadata.name".into())));
        assert!(fields.contains(&("HOST_IP".into(), "status.hostIP".into())));
    }

    #[test]
    fn metrics_are_served_where_the_administrator_says() {
        let addresses = ["127.0.0.1", "::"].map(|address| {
            let options = Run { announcer_metrics_address: address.parse().ok(), ..options() };
            let ports = PlanePorts { metrics: 17402, probes: 17403, return_path: None };
            let set = daemon_set(&plane("blue", "x.dev/blue"), ports, &options, false);
            container_of(&set).args.unwrap().remove(1)
        });
        assert_eq!(addresses, ["--metrics-address=[127.0.0.1]:17402", "--metrics-address=[::]:17402"]);
    }

    #[test]
    fn every_port_is_declared_so_that_no_other_pod_is_put_on_it() {
        let ports = container_of(&build(&plane("blue", "x.dev/blue"))).ports.unwrap();
        let ports: Vec<_> = ports
            .iter()
            .map(|port| (port.name.as_deref(), port.protocol.as_deref(), port.host_port))
            .map(|(name, protocol, number)| (name.unwrap(), protocol.unwrap(), number.unwrap()))
            .collect();
        assert_eq!(ports, [("metrics", "TCP", 17402), ("probes", "TCP", 17403), ("heartbeat", "UDP", 17402)]);
    }

    #[test]
    fn an_update_goes_node_by_node_and_leaves_time_to_hand_over() {
        let set = build(&plane("blue", "x.dev/blue"));
        let spec = set.spec.clone().unwrap();
        let rolling = spec.update_strategy.unwrap().rolling_update.unwrap();
        assert_eq!((rolling.max_unavailable, rolling.max_surge), (Some(IntOrString::Int(1)), None));
        assert_eq!(spec.min_ready_seconds, Some(2));
        assert!(pod_of(&set).termination_grace_period_seconds.unwrap() >= 10);
    }

    #[test]
    fn an_announcer_has_a_small_place_of_its_own_to_write_to() {
        let set = build(&plane("blue", "x.dev/blue"));
        let state = pod_of(&set).volumes.unwrap().remove(1);
        assert_eq!(state.empty_dir.unwrap().size_limit, Some(Quantity("64Mi".into())));
        let mount = container_of(&set).volume_mounts.unwrap().remove(1);
        assert_eq!((mount.name, mount.mount_path.as_str()), (state.name, "/var/lib/foghorn"));
        assert_eq!(mount.read_only, None);
    }

    #[test]
    fn announcers_run_on_the_nodes_network_with_one_capability_and_no_other_right() {
        let set = build(&plane("blue", "x.dev/blue"));
        let pod = pod_of(&set);
        assert_eq!(pod.host_network, Some(true));
        assert_eq!(pod.host_pid, None);
        let context = pod.security_context.unwrap();
        assert_eq!((context.run_as_user, context.run_as_non_root), (Some(65532), Some(true)));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let context = container_of(&set).security_context.unwrap();
        let capabilities = context.capabilities.unwrap();
        assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
        assert_eq!(capabilities.add.unwrap(), ["NET_RAW"]);
        assert_eq!(container_of(&set).command, None);
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.privileged, None);
        assert_eq!(context.allow_privilege_escalation, None, "the file capability would be lost");
        assert!(pod.volumes.unwrap().iter().all(|volume| volume.host_path.is_none()));
    }

    #[test]
    fn a_plane_with_a_guard_or_a_return_path_has_a_second_container_with_net_admin_alone() {
        let mut plane = plane("blue", "x.dev/blue");
        let containers = |plane: &NetworkPlane, leaves| {
            let ports = PlanePorts { metrics: 17402, probes: 17403, return_path: None };
            pod_of(&daemon_set(plane, ports, &options(), leaves)).containers
        };
        assert_eq!(containers(&plane, false).len(), 1);
        assert_eq!(containers(&plane, true).len(), 2, "it has something to remove");
        plane.spec.guard.mode = GuardMode::Drop;
        let [announcer, datapath] = containers(&plane, false).try_into().unwrap();
        assert!(announcer.args.unwrap().contains(&"--datapath-socket=/var/lib/foghorn/datapath.sock".into()));
        assert_eq!(datapath.image.as_deref(), Some("example.org/datapath:1"));
        let rights = |context: Option<SecurityContext>| context.unwrap().capabilities.unwrap().add.unwrap();
        assert_eq!(rights(announcer.security_context), ["NET_RAW"]);
        assert_eq!(rights(datapath.security_context), ["NET_ADMIN"]);
    }

    #[test]
    fn with_fenced_host_addresses_announcers_may_change_the_nodes_network_and_have_the_binary_for_it() {
        let mut plane = plane("blue", "x.dev/blue");
        plane.spec.host_address.mode = HostAddressMode::Fenced;
        let fenced = container_of(&build(&plane));
        assert_eq!(fenced.command.as_deref().unwrap(), ["/foghorn-announcer-net-admin"]);
        let context = fenced.security_context.clone().unwrap();
        let capabilities = context.capabilities.unwrap();
        assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
        assert_eq!(capabilities.add.unwrap(), ["NET_RAW", "NET_ADMIN"]);
        plane.spec.host_address.mode = HostAddressMode::None;
        let plain = container_of(&build(&plane));
        let rest = Container { command: None, security_context: plain.security_context.clone(), ..fenced };
        assert_eq!(rest, plain);
    }

    #[test]
    fn a_plane_that_forwards_ports_has_what_guard_return_path_and_fenced_need() {
        let mut plane = plane("blue", "x.dev/blue");
        plane.spec.port_forwarding.mode = PortForwardingMode::OptIn;
        let containers = pod_of(&build(&plane)).containers;
        assert_eq!(containers.len(), 2);
        assert_eq!(containers[0].command.as_deref().unwrap(), ["/foghorn-announcer-net-admin"]);
    }

    #[test]
    fn probes_go_to_the_loopback_address_and_the_planes_own_port() {
        let container = container_of(&build(&plane("blue", "x.dev/blue")));
        for (probe, path) in [(container.liveness_probe, "/healthz"), (container.readiness_probe, "/readyz")]
        {
            let get = probe.unwrap().http_get.unwrap();
            assert_eq!(get.host.as_deref(), Some("127.0.0.1"));
            assert_eq!(get.path.as_deref(), Some(path));
            assert_eq!(get.port, IntOrString::Int(17403));
        }
    }

    #[test]
    fn what_the_plane_says_of_nodes_and_resources_is_in_the_pods() {
        let mut plane = plane("blue", "x.dev/blue");
        plane.spec.node_selector.insert("site".into(), "north".into());
        plane.spec.tolerations =
            vec![Toleration { operator: Some("Exists".into()), ..Toleration::default() }];
        plane.spec.priority_class_name = Some("mine".into());
        let memory = BTreeMap::from([("memory".to_owned(), Quantity("64Mi".into()))]);
        plane.spec.resources =
            Some(ResourceRequirements { limits: Some(memory.clone()), ..ResourceRequirements::default() });
        let set = build(&plane);
        let pod = pod_of(&set);
        let selector = pod.node_selector.unwrap();
        assert_eq!((selector["site"].as_str(), selector["kubernetes.io/os"].as_str()), ("north", "linux"));
        assert_eq!(pod.tolerations, Some(plane.spec.tolerations.clone()));
        assert_eq!(pod.priority_class_name.as_deref(), Some("mine"));
        assert_eq!(container_of(&set).resources.unwrap().limits, Some(memory));
    }

    #[test]
    fn without_wishes_announcers_are_critical_small_and_without_limits() {
        let set = build(&plane("blue", "x.dev/blue"));
        assert_eq!(pod_of(&set).priority_class_name.as_deref(), Some("system-node-critical"));
        let resources = container_of(&set).resources.unwrap();
        assert_eq!(resources.limits, None);
        assert_eq!(resources.requests.unwrap()["cpu"], Quantity("10m".into()));
    }

    #[test]
    fn a_change_of_what_is_only_in_the_configuration_changes_no_pod() {
        let before = plane("blue", "x.dev/blue");
        let mut after = before.clone();
        after.spec.dhcp.hostname = String::new();
        after.spec.announce.refresh_seconds = 7;
        after.spec.interface.name = Some("eth7".into());
        after.spec.allowed_subnets = vec!["203.0.113.0/24".into()];
        after.spec.default = true;
        after.spec.host_address.max_per_node = 7;
        assert_eq!(build(&before), build(&after));
    }

    #[test]
    fn the_selector_matches_the_pods() {
        let spec = build(&plane("blue", "x.dev/blue")).spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        for (key, value) in spec.selector.match_labels.unwrap() {
            assert_eq!(labels.get(&key), Some(&value));
        }
    }

    #[test]
    fn the_heartbeat_keys_are_readable_by_the_announcer_only_and_never_written() {
        let set = build(&plane("blue", "x.dev/blue"));
        let pod = pod_of(&set);
        assert_eq!(pod.security_context.unwrap().fs_group, Some(65532));
        let secret = pod.volumes.unwrap().remove(0).secret.unwrap();
        assert_eq!((secret.secret_name.as_deref(), secret.default_mode), (Some("heartbeat"), Some(0o440)));
        let mount = container_of(&set).volume_mounts.unwrap().remove(0);
        assert_eq!((mount.mount_path.as_str(), mount.read_only), (contract::HEARTBEAT_KEYS_PATH, Some(true)));
    }

    fn build(plane: &NetworkPlane) -> DaemonSet {
        daemon_set(plane, PlanePorts { metrics: 17402, probes: 17403, return_path: None }, &options(), false)
    }

    fn pod_of(set: &DaemonSet) -> PodSpec {
        set.spec.clone().unwrap().template.spec.unwrap()
    }

    fn container_of(set: &DaemonSet) -> Container {
        pod_of(set).containers.remove(0)
    }
}
