//! Certificates, keys and tokens of the control plane.

use std::{fmt::Write as _, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{
    command::write,
    error::Result,
    topology::{API_SERVER, API_SERVICE, node_name},
};

/// Makes all of them in `dir`, and a kubeconfig `<user>.kubeconfig` for each user: `admin`, `controller-manager`, `scheduler`,
/// `proxy` and the nodes.
pub(crate) fn create(dir: &Path, nodes: u8) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "foghorn-lab");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    write(&dir.join("ca.crt"), ca.pem())?;

    let names = vec![
        API_SERVER.to_string(),
        API_SERVICE.to_string(),
        "127.0.0.1".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    let issue =
        |file: &str, names: Vec<String>, common_name: &str, group: Option<&str>, usage| -> Result<()> {
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name.push(DnType::CommonName, common_name);
            if let Some(group) = group {
                params.distinguished_name.push(DnType::OrganizationName, group);
            }
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            write(&dir.join(format!("{file}.crt")), params.signed_by(&key, &ca)?.pem())?;
            write(&dir.join(format!("{file}.key")), key.serialize_pem())
        };
    issue("apiserver", names, "kube-apiserver", None, ExtendedKeyUsagePurpose::ServerAuth)?;
    // With it the API server speaks to the kubelets, for logs and exec.
    issue(
        "kubelet-client",
        Vec::new(),
        "kube-apiserver",
        Some("system:masters"),
        ExtendedKeyUsagePurpose::ClientAuth,
    )?;
    let key = KeyPair::generate()?;
    write(&dir.join("service-account.key"), key.serialize_pem())?;
    write(&dir.join("service-account.pub"), key.public_key_pem())?;

    let mut tokens = String::new();
    let mut user = |file: &str, name: &str, group: &str| {
        // Writing to a string cannot fail.
        let _always = writeln!(tokens, "{file}-token,{name},{file},\"{group}\"");
        write(&dir.join(format!("{file}.kubeconfig")), kubeconfig(file))
    };
    user("admin", "admin", "system:masters")?;
    user("controller-manager", "system:kube-controller-manager", "")?;
    user("scheduler", "system:kube-scheduler", "")?;
    user("proxy", "system:kube-proxy", "")?;
    for node in (1..=nodes).map(node_name) {
        user(&node, &format!("system:node:{node}"), "system:nodes")?;
    }
    write(&dir.join("tokens.csv"), tokens)
}

/// `certificate-authority` is relative to the kubeconfig's own folder.
fn kubeconfig(user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: lab, cluster: {{server: \"https://{API_SERVER}:6443\", certificate-authority: ca.crt}}}}]\n\
         users: [{{name: {user}, user: {{token: {user}-token}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: {user}}}}}]\n\
         current-context: lab\n"
    )
}
