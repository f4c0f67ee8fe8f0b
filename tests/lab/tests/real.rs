//! The lab itself, for real: needs root and a minute. `cargo test -p foghorn-lab --test real`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says by a panic what failed"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use foghorn_lab::{
    Binary, Config, Daemon, DhcpConfig, Error, Image, Lab, LabName, Probe, Wire, build_image, leftovers,
    topology::Network, until,
};

/// The settings of the kernel that kubelet changes.
const KUBELET_SETTINGS: [&str; 6] = [
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
];
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_lab_from_up_to_down_and_up_again_after_a_crash() {
    let name = &name();
    Lab::down(name).unwrap();
    let settings = settings();
    let start = Instant::now();
    let lab = up();
    println!("up after {:.1?}", start.elapsed());
    assert!(matches!(Lab::up(config()), Err(Error::AlreadyUp(_))));

    a_deployment_serves_through_a_service(&lab);
    a_container_of_another_user_has_its_file_capability(&lab);
    a_dhcp_server_gives_leases_and_can_be_changed(&lab);
    the_wire_shows_who_answers_arp(&lab);
    a_cable_without_carrier_is_seen_by_the_host(&lab);
    a_node_without_power_is_silent_and_comes_back(&lab);
    the_api_server_can_be_stopped_and_cut_off(&lab);
    the_api_server_can_be_slow(&lab);
    the_writes_of_leases_are_known(&lab);
    the_gateway_forwards_ports(&lab);
    the_kernels_settings_of_a_node_are_its_own(&lab, &settings);

    crash();
    println!("after the crash there are {} things left", leftovers(name).unwrap().len());
    let start = Instant::now();
    let lab = up();
    println!("up after the crash after {:.1?}", start.elapsed());
    assert_eq!(lab.kubectl(&["get", "deployments"]).unwrap(), "");
    lab.power_off("w1").unwrap();

    Lab::down(name).unwrap();
    assert_eq!(self::settings(), settings);
    assert_eq!(leftovers(name).unwrap(), Vec::<String>::new());
    Lab::down(name).unwrap();
    assert!(matches!(Lab::open(name), Err(Error::NotUp(_))));
}

fn a_deployment_serves_through_a_service(lab: &Lab) {
    lab.apply(WEB).unwrap();
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).unwrap();
    let service = "http://198.19.0.80/";
    until("an answer of the Service", SOON, || {
        Ok(lab.node("w2")?.exec(&["curl", "-sS", "-m1", service]).is_ok().then_some(()))
    })
    .unwrap();
    let inside = [
        "exec",
        "deployment/web",
        "--",
        "/bin/busybox",
        "timeout",
        "2",
        "/bin/busybox",
        "wget",
        "-qO-",
        service,
    ];
    for _ in 0..8 {
        assert!(lab.kubectl(&inside).unwrap().contains(" on w"));
    }
    let target = SocketAddr::from(([198, 51, 100, 12], 30080));
    let probe =
        Probe::start_patient(&lab.client(Network::Private), target, Duration::from_millis(10)).unwrap();
    thread::sleep(Duration::from_secs(1));
    let report = probe.finish().unwrap();
    println!("{report}");
    assert_eq!(report.failed, 0);
    assert_eq!(report.answers.len(), 2, "{report}");
    assert!(lab.kubectl(&["logs", "deployment/web"]).unwrap().contains("response:200"));
    assert_eq!(
        lab.kubectl(&["exec", "deployment/web", "--", "/bin/busybox", "echo", "hello"]).unwrap(),
        "hello\n"
    );
    let pods = lab.kubectl_json(&["get", "pods"]).unwrap();
    assert_eq!(pods["items"].as_array().unwrap().len(), 2);
}

fn a_container_of_another_user_has_its_file_capability(lab: &Lab) {
    let image = Image {
        name: "localhost/raw-socket:1".to_owned(),
        dockerfile: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raw-socket/Dockerfile"),
        binaries: vec![Binary {
            file: PathBuf::from("/bin/busybox"),
            name: "busybox".to_owned(),
            capability: Some("cap_net_raw+ep".to_owned()),
        }],
    };
    let archive = build_image(&image, Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    lab.load_image(&archive).unwrap();
    let wire = Wire::start(&lab.client(Network::Private), "eth0", "arp").unwrap();
    lab.apply(RAW_SOCKET).unwrap();
    wire.wait_for(&["Request who-has 198.51.100.1", "02:0f:09:00:01:0b"], SOON).unwrap();

    let pid = lab.announcer_pids("selftest", "w1").unwrap()[0];
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).map(|stat| stat.contains(" T ")).ok();
    lab.stop_announcer("selftest", "w1").unwrap();
    until("a stopped process", SOON, || Ok((state() == Some(true)).then_some(()))).unwrap();
    lab.resume_announcer("selftest", "w1").unwrap();
    until("a running process", SOON, || Ok((state() == Some(false)).then_some(()))).unwrap();
    lab.kill_announcer("selftest", "w1").unwrap();
    until("another process", SOON, || Ok((lab.announcer_pids("selftest", "w1")? != [pid]).then_some(())))
        .unwrap();
    assert!(matches!(lab.announcer_pids("selftest", "w2"), Err(Error::NoContainer { .. })));
    assert!(matches!(lab.announcer_pids("selftest", "w9"), Err(Error::NoHost { .. })));
}

fn a_dhcp_server_gives_leases_and_can_be_changed(lab: &Lab) {
    let (client, server) = (lab.client(Network::Public), lab.dhcp(Network::Public));
    let ask = || client.exec(&["busybox", "udhcpc", "-i", "eth0", "-nqf", "-t1", "-T1", "-s", "/bin/true"]);
    ask().unwrap();
    let leases = server.leases().unwrap();
    assert_eq!(leases.iter().map(|lease| lease.mac.as_str()).collect::<Vec<_>>(), ["02:0f:09:00:02:c8"]);
    server.stop().unwrap();
    assert!(ask().is_err());
    server.forget_leases().unwrap();
    let only = Ipv4Addr::new(203, 0, 113, 77);
    let config = DhcpConfig { range: (only, only), lease_seconds: 120, ..DhcpConfig::of(Network::Public) };
    server.configure(&config).unwrap();
    ask().unwrap();
    assert_eq!(server.leases().unwrap().iter().map(|lease| lease.address).collect::<Vec<_>>(), [only]);
    server.configure(&DhcpConfig::of(Network::Public)).unwrap();
    let wrong = DhcpConfig { lines: vec!["no-such-option".to_owned()], ..config };
    let error = server.configure(&wrong).unwrap_err().to_string();
    assert!(error.contains("dnsmasq on dhcp-public does not run") && error.contains("bad option"), "{error}");
    server.configure(&DhcpConfig::of(Network::Public)).unwrap();
}

fn the_wire_shows_who_answers_arp(lab: &Lab) {
    let client = lab.client(Network::Public);
    let who = client.who_has("eth0", Ipv4Addr::new(203, 0, 113, 12)).unwrap();
    assert_eq!(who, BTreeSet::from(["02:0f:09:00:02:0c".to_owned()]));
    assert_eq!(lab.host_of_mac("02:0f:09:00:02:0c").as_deref(), Some("w2"));
    assert_eq!(client.who_has("eth0", Ipv4Addr::new(203, 0, 113, 222)).unwrap(), BTreeSet::new());
    assert!(Wire::start(&client, "eth0", "no such filter").unwrap_err().to_string().contains("syntax error"));
    let wire = Wire::start(&lab.switch(), Network::Public.bridge(), "icmp").unwrap();
    client.exec(&["ping", "-c1", "-W10", "203.0.113.12"]).unwrap();
    wire.wait_for(&["02:0f:09:00:02:c8 > 02:0f:09:00:02:0c", "echo request"], SOON).unwrap();
    wire.wait_for(&["02:0f:09:00:02:0c > 02:0f:09:00:02:c8", "echo reply"], SOON).unwrap();
    assert_eq!(wire.lines().len(), 2);
}

fn a_cable_without_carrier_is_seen_by_the_host(lab: &Lab) {
    let node = lab.node("w2").unwrap();
    let carrier = || node.exec(&["ip", "link", "show", "eth1"]).unwrap().contains("NO-CARRIER");
    lab.unplug("w2", Network::Public).unwrap();
    assert!(carrier());
    lab.plug("w2", Network::Public).unwrap();
    assert!(!carrier());
    assert!(matches!(lab.unplug("cp", Network::Public), Err(Error::NoCable { .. })));
}

fn a_node_without_power_is_silent_and_comes_back(lab: &Lab) {
    let client = lab.client(Network::Private);
    // Until the first answer.
    let ping = |seconds| client.exec(&["ping", "-c1", "-w", seconds, "198.51.100.12"]).is_ok();
    lab.power_off("w2").unwrap();
    assert!(!ping("1"));
    assert!(lab.container_pids("w2", "default").is_err());
    let status = lab.status().unwrap();
    let faults = &status.iter().find(|host| host.name == "w2").unwrap().faults;
    assert_eq!(faults.as_slice(), ["eth0 unplugged", "eth1 unplugged", "no power"]);
    lab.power_on("w2").unwrap();
    assert!(ping("10"));
    assert!(lab.status().unwrap().iter().all(|host| host.faults.is_empty()));
}

fn the_api_server_can_be_stopped_and_cut_off(lab: &Lab) {
    let node = lab.node("w1").unwrap();
    let reach = |seconds| node.exec(&["curl", "-ksS", "-m", seconds, "https://198.19.0.1/livez"]).is_ok();
    assert!(reach("10"));
    lab.cut_api("w1").unwrap();
    lab.cut_api("w1").unwrap();
    assert!(!reach("1"));
    lab.mend_api("w1").unwrap();
    assert!(reach("10"));
    lab.stop_api().unwrap();
    assert!(lab.kubectl(&["get", "nodes"]).is_err());
    lab.start_api().unwrap();
    lab.kubectl(&["get", "nodes"]).unwrap();
}

fn the_api_server_can_be_slow(lab: &Lab) {
    let node = lab.node("w1").unwrap();
    let took = || {
        let began = Instant::now();
        node.exec(&["curl", "-ksS", "-m9", "https://198.19.0.1/livez"]).unwrap();
        began.elapsed()
    };
    let delay = Duration::from_secs(1);
    let slow = lab.slow_api(delay).unwrap();
    assert!(took() > 2 * delay);
    lab.kubectl(&["get", "nodes"]).unwrap();
    drop(slow);
    assert!(took() < delay);
}

fn the_writes_of_leases_are_known(lab: &Lab) {
    let lease = |transitions: u8| {
        format!(
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: watched, namespace: default}}\n\
             spec: {{holderIdentity: w1, leaseTransitions: {transitions}}}\n"
        )
    };
    let began = jiff::Timestamp::now();
    lab.apply(&lease(1)).unwrap();
    lab.apply(&lease(2)).unwrap();
    let writes = lab.api_writes("default", began).unwrap();
    let written: Vec<_> = writes.iter().map(|write| (write.name.as_str(), write.transitions)).collect();
    assert_eq!(written, [("watched", Some(1)), ("watched", Some(2))], "{writes:?}");
    assert!(writes.iter().all(|write| write.resource == "leases"), "{writes:?}");
}

/// A node asks by NAT-PMP (RFC 6886, section 3.3); the internet host then reaches it.
fn the_gateway_forwards_ports(lab: &Lab) {
    let map = || -> std::io::Result<Vec<u8>> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        // Version 0, map TCP, internal port 30080, external port 8000, for 600 s.
        socket.send_to(&[0, 2, 0, 0, 0x75, 0x80, 0x1f, 0x40, 0, 0, 2, 0x58], ("198.51.100.1", 5351))?;
        let mut answer = [0; 16];
        let length = socket.recv(&mut answer)?;
        Ok(answer[..length].to_vec())
    };
    let answer = lab.node("w1").unwrap().inside(map).unwrap().join().unwrap().unwrap().unwrap();
    assert_eq!(answer[..4], [0, 130, 0, 0], "{answer:?}");
    let outside = lab.host("inet").unwrap();
    let page = outside.exec(&["curl", "-sS", "-m2", "http://192.0.2.1:8000/"]).unwrap();
    assert!(page.contains(" on w"), "{page}");
}

/// What kubelet sets is seen on its node, and nowhere else: a file of the node is mounted over each setting.
fn the_kernels_settings_of_a_node_are_its_own(lab: &Lab, before: &[String]) {
    assert_eq!(settings(), before);
    for node in lab.nodes() {
        let containerd = Daemon::new(&node, "containerd").check().unwrap();
        let mounts = fs::read_to_string(format!("/proc/{containerd}/mountinfo")).unwrap();
        let of_node = |setting: &str| {
            let file = node.dir().join("sysctl").join(setting.trim_start_matches("/proc/sys/"));
            let is_mounted = mounts.lines().any(|line| {
                // The path on the file system that the lab's directory is on, and where it is mounted (proc_pid_mountinfo(5)).
                let fields: Vec<_> = line.split(' ').collect();
                file.to_string_lossy().ends_with(fields[3]) && fields[4] == setting
            });
            assert!(is_mounted, "{setting} on {}:\n{mounts}", node.name());
            fs::read_to_string(file).unwrap().trim().to_owned()
        };
        assert_eq!(KUBELET_SETTINGS.map(of_node), ["25000000", "1000000", "10", "1", "1", "0"]);
    }
}

fn settings() -> Vec<String> {
    KUBELET_SETTINGS.map(|file| fs::read_to_string(file).unwrap()).to_vec()
}

/// Ends half of what runs, as a machine that goes down badly would.
fn crash() {
    let lines = leftovers(&name()).unwrap();
    let pids = lines.iter().filter_map(|line| line.strip_prefix("process ")?.split(' ').next());
    for pid in pids.step_by(2) {
        std::process::Command::new("kill").args(["-9", pid]).status().unwrap();
    }
}

fn name() -> LabName {
    "selftest".parse().unwrap()
}

fn config() -> Config {
    Config { name: name(), nodes: 2, ..Config::default() }
}

fn up() -> Lab {
    Lab::up(config()).unwrap_or_else(|error| panic!("{error}"))
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: localhost/web:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 198.19.0.80
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"#;

const RAW_SOCKET: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: foghorn-selftest}
---
apiVersion: v1
kind: Pod
metadata: {name: raw-socket, namespace: foghorn-selftest}
spec:
  hostNetwork: true
  nodeName: w1
  containers:
  - name: announcer
    image: localhost/raw-socket:1
    securityContext:
      readOnlyRootFilesystem: true
      runAsNonRoot: true
      capabilities: {drop: [ALL], add: [NET_RAW]}
      seccompProfile: {type: RuntimeDefault}
"#;
