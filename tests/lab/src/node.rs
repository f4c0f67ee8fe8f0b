//! A node: containerd, kubelet and kube-proxy in the node's namespaces and cgroup.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    command::{command, create_dir, remove_file, run, write},
    daemon::Daemon,
    error::Result,
    host::Host,
    lab::Lab,
    poll,
    topology::{Network, POD_CIDR, node_number, pod_subnet},
};

/// The settings of the kernel that kubelet changes (`setupKernelTunables` in its container manager). They are not of a namespace.
const KUBELET_SETTINGS: [&str; 6] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Gives the node its own `/var` and `/run`, where containerd, CNI and kubelet have folders of fixed names, then becomes the
/// command. The lab's own folder stays where it is. The other namespaces' files are let go: they would not end while this one lives.
///
/// The kernel's settings that kubelet changes become ordinary files with their present values: it changes those, not the computer's.
const OWN_FILE_SYSTEM: &str = r#"set -e
state=$1 var=$2 sysctl=$3 settings=$4; shift 4
for setting in $settings; do
  [ -e "/proc/sys/$setting" ] || continue
  mkdir -p "$(dirname "$sysctl/$setting")"
  cat "/proc/sys/$setting" > "$sysctl/$setting"
  mount --bind "$sysctl/$setting" "/proc/sys/$setting"
done
mkdir -p "$var/lib" "$var/log" "$var/tmp" "$var$(echo "$state" | cut -c5-)"
mount --bind "$state" "$var$(echo "$state" | cut -c5-)"
umount --recursive --lazy /run/netns
mount -t tmpfs -o mode=755 run /run
ln -s /run "$var/run"
mount --rbind "$var" /var
mount --make-rshared /
exec "$@""#;

/// Starts containerd and loads the images into it.
pub(crate) fn start_runtime(lab: &Lab, host: &Host, images: &[PathBuf]) -> Result<()> {
    let dir = host.dir().display().to_string();
    write(&host.dir().join("containerd.toml"), containerd_config(&dir))?;
    write(&host.dir().join("cni/10-pods.conflist"), cni_config(number(host)))?;
    // An earlier life's would be taken for this one's.
    remove_file(&socket(host))?;
    let containerd = Daemon::new(host, "containerd");
    let state = lab.dir().display().to_string();
    containerd.start(&[
        "unshare",
        "--mount",
        "--propagation=private",
        "sh",
        "-c",
        OWN_FILE_SYSTEM,
        "node",
        &state,
        &format!("{dir}/var"),
        &format!("{dir}/sysctl"),
        &KUBELET_SETTINGS.join(" "),
        "containerd",
        "--config",
        &format!("{dir}/containerd.toml"),
    ])?;
    poll::until(&format!("containerd on {}", host.name()), Duration::from_secs(20), || {
        containerd.check()?;
        Ok(socket(host).exists().then_some(()))
    })?;
    images.iter().try_for_each(|image| load_image(host, image))
}

/// Loads an image archive into the node's containerd.
pub(crate) fn load_image(host: &Host, archive: &Path) -> Result<()> {
    let archive = archive.display().to_string();
    // It takes seconds, and much longer on a busy machine.
    ctr_within(host, "300s", &["images", "import", &archive]).map(drop)
}

/// Asks the node's containerd.
pub(crate) fn ctr(host: &Host, args: &[&str]) -> Result<String> {
    ctr_within(host, "20s", args)
}

fn ctr_within(host: &Host, limit: &str, args: &[&str]) -> Result<String> {
    let socket = socket(host).display().to_string();
    // A node without power does not answer.
    let ctr =
        ["ctr", "--address", &socket, "--namespace", "k8s.io", "--connect-timeout", "2s", "--timeout", limit];
    let words: Vec<_> = ctr.iter().chain(args).copied().collect();
    run(&mut command(&words))
}

/// Starts kubelet and kube-proxy.
pub(crate) fn start_kubelet_and_proxy(lab: &Lab, host: &Host) -> Result<()> {
    let (name, pki) = (host.name(), lab.pki().display().to_string());
    let config = host.dir().join("kubelet.yaml");
    write(&config, kubelet_config(host, &pki))?;
    create_dir(&host.dir().join("manifests"))?;
    let containerd = Daemon::new(host, "containerd").check()?;
    Daemon::new(host, "kubelet").start(&[
        "nsenter".to_owned(),
        format!("--mount=/proc/{containerd}/ns/mnt"),
        lab.programs().kube("kubelet"),
        format!("--config={}", config.display()),
        format!("--kubeconfig={pki}/{name}.kubeconfig"),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", Network::Private.address(10 + number(host))),
    ])?;
    start_proxy(lab, host, ProxyMode::Nftables)
}

/// By what kube-proxy translates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyMode {
    /// nftables: a lab's usual one.
    Nftables,
    /// iptables.
    Iptables,
}

impl Lab {
    /// Lets kube-proxy on all nodes translate in that way from now on. What it had set up in another one it removes.
    ///
    /// # Errors
    /// If it does not start again.
    pub fn set_proxy_mode(&self, mode: ProxyMode) -> Result<()> {
        self.nodes().iter().try_for_each(|host| {
            Daemon::new(host, "kube-proxy").stop()?;
            start_proxy(self, host, mode)
        })
    }
}

fn start_proxy(lab: &Lab, host: &Host, mode: ProxyMode) -> Result<()> {
    let mode = match mode {
        ProxyMode::Nftables => "nftables",
        ProxyMode::Iptables => "iptables",
    };
    Daemon::new(host, "kube-proxy").start(&[
        lab.programs().kube("kube-proxy"),
        format!("--kubeconfig={}/proxy.kubeconfig", lab.pki().display()),
        format!("--proxy-mode={mode}"),
        format!("--hostname-override={}", host.name()),
        format!("--cluster-cidr={POD_CIDR}"),
        // The limit is the machine's, not the namespace's: it cannot be set here.
        "--conntrack-max-per-core=0".to_owned(),
    ])
}

fn number(host: &Host) -> u8 {
    node_number(host.name()).unwrap_or_default()
}

fn socket(host: &Host) -> PathBuf {
    host.dir().join("containerd.sock")
}

fn containerd_config(dir: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
# Without the right to lower a score, runc fails.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{dir}/cni"
"#
    )
}

/// Pods behind routed veths: on a bridge, a Pod would reach a Service whose endpoint is on its own node only with br_netfilter.
fn cni_config(number: u8) -> String {
    let subnet = pod_subnet(number);
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "ptp", "ipMasq": true,
    "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{subnet}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#
    )
}

fn kubelet_config(host: &Host, pki: &str) -> String {
    let (cgroup, dir) = (host.cgroup(), host.dir().display().to_string());
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {pki}/ca.crt}}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://{dir}/containerd.sock
staticPodPath: {dir}/manifests
volumePluginDir: /var/lib/kubelet/volumeplugins
resolvConf: ""
# What is killed on purpose is to start again soon, however often it is.
crashLoopBackOff: {{maxContainerRestartPeriod: 1s}}
# The disk is the machine's: its filling up must not evict the lab's Pods, and nobody needs its use to be measured.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: "0%", nodefs.available: "0%", imagefs.available: "0%"}}
localStorageCapacityIsolation: false
"#,
        cgroup = cgroup.name()
    )
}
