//! etcd, the API server, the controller manager and the scheduler on the host `cp`.

use std::{thread, time::Duration};

use crate::{
    api, audit,
    command::{tail, write},
    daemon::Daemon,
    error::Result,
    lab::Lab,
    poll,
    topology::{API_SERVER, CONTROL_PLANE, SERVICE_CIDR},
};

/// Starts etcd and the API server and waits until it serves.
pub(crate) fn start_storage_and_api(lab: &Lab) -> Result<()> {
    let host = lab.named(CONTROL_PLANE);
    let data = host.dir().join("etcd").display().to_string();
    let peers = "http://127.0.0.1:2380";
    let clients = "http://127.0.0.1:2379";
    Daemon::new(&host, "etcd").start(&[
        &lab.programs().kube("etcd"),
        &format!("--data-dir={data}"),
        &format!("--listen-client-urls={clients}"),
        &format!("--advertise-client-urls={clients}"),
        &format!("--listen-peer-urls={peers}"),
        &format!("--initial-advertise-peer-urls={peers}"),
        &format!("--initial-cluster=default={peers}"),
        // The lab's state is worth nothing after a crash, and its only member need not wait for others.
        "--unsafe-no-fsync",
        "--heartbeat-interval=20",
        "--election-timeout=200",
        "--log-level=warn",
    ])?;
    start_api(lab)
}

/// Starts the API server and waits until it serves.
pub(crate) fn start_api(lab: &Lab) -> Result<()> {
    let host = lab.named(CONTROL_PLANE);
    let api = Daemon::new(&host, "kube-apiserver");
    let pki = lab.pki().display().to_string();
    let policy = host.dir().join("audit.yaml");
    write(&policy, audit::POLICY)?;
    api.start(&[
        lab.programs().kube("kube-apiserver"),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", audit::log_file(&host).display()),
        "--audit-log-maxsize=100".to_owned(),
        "--audit-log-maxbackup=1".to_owned(),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--advertise-address={API_SERVER}"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--kubelet-client-certificate={pki}/kubelet-client.crt"),
        format!("--kubelet-client-key={pki}/kubelet-client.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--token-auth-file={pki}/tokens.csv"),
        format!("--service-account-key-file={pki}/service-account.pub"),
        format!("--service-account-signing-key-file={pki}/service-account.key"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--profiling=false".to_owned(),
    ])?;
    // A first request that comes too early waits long for its second try, so kubectl asks again and again instead.
    let ready = poll::until("an API server that is ready", Duration::from_secs(180), || {
        api.check()?;
        thread::sleep(Duration::from_millis(100));
        Ok(lab.kubectl(&["get", "--raw=/readyz", "--request-timeout=2s"]).is_ok().then_some(()))
    });
    ready.inspect_err(|_| eprintln!("{}", tail(&api.log_file(), 20)))
}

/// Ends the API server.
pub(crate) fn stop_api(lab: &Lab) -> Result<()> {
    Daemon::new(&lab.named(CONTROL_PLANE), "kube-apiserver").kill()
}

/// Starts the controller manager and the scheduler.
pub(crate) fn start_controllers(lab: &Lab) -> Result<()> {
    let host = lab.named(CONTROL_PLANE);
    let (pki, dir) = (lab.pki().display().to_string(), host.dir().display().to_string());
    Daemon::new(&host, "kube-controller-manager").start(&[
        lab.programs().kube("kube-controller-manager"),
        format!("--kubeconfig={pki}/controller-manager.kubeconfig"),
        format!("--authentication-kubeconfig={pki}/controller-manager.kubeconfig"),
        format!("--authorization-kubeconfig={pki}/controller-manager.kubeconfig"),
        format!("--service-account-private-key-file={pki}/service-account.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        "--use-service-account-credentials=true".to_owned(),
        // By default it makes a folder in /usr/libexec.
        format!("--flex-volume-plugin-dir={dir}/volumeplugins"),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ])?;
    Daemon::new(&host, "kube-scheduler").start(&[
        lab.programs().kube("kube-scheduler"),
        format!("--kubeconfig={pki}/scheduler.kubeconfig"),
        format!("--authentication-kubeconfig={pki}/scheduler.kubeconfig"),
        format!("--authorization-kubeconfig={pki}/scheduler.kubeconfig"),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ])?;
    api::start_proxy(lab)
}
