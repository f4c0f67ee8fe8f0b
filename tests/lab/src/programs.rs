//! The Go programs: Kubernetes, etcd, kubectl and Helm; built once into a cache.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    command::{command, create_dir, entries, read, remove_dir, run},
    error::{Error, Result},
};

/// The version of Helm.
const HELM: &str = "v3.22.0";
/// The names that the server program goes by.
const SERVERS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// Where the programs are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Programs {
    kube: PathBuf,
    helm: PathBuf,
}

impl Programs {
    /// Finds them in the cache, building what is missing: minutes for the first time. `KUBE_BIN` may name a folder of official
    /// binaries (`kube-apiserver`, …, `kubectl`, `etcd`).
    ///
    /// # Errors
    /// If `go` is missing or fails, or `KUBE_BIN` lacks a program.
    pub fn find_or_build() -> Result<Self> {
        let kube = match env::var_os("KUBE_BIN") {
            Some(folder) => official(PathBuf::from(folder))?,
            None => kube()?,
        };
        Ok(Self { kube, helm: helm()? })
    }

    /// The path of one of etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy and kubectl.
    #[must_use]
    pub fn kube(&self, name: &str) -> String {
        self.kube.join(name).display().to_string()
    }

    /// The path of Helm.
    #[must_use]
    pub fn helm(&self) -> String {
        self.helm.display().to_string()
    }
}

/// The lab's cache: outside the checkout, so that each checkout finds what another one built.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let base = base.ok_or_else(|| {
        Error::Config("neither XDG_CACHE_HOME nor HOME is set: where is the cache?".to_owned())
    })?;
    Ok(base.join("foghorn-lab"))
}

/// A name for what follows from these inputs.
pub(crate) fn fingerprint<T: AsRef<[u8]>>(inputs: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for input in inputs {
        let input = input.as_ref();
        hash.update(input.len().to_le_bytes());
        hash.update(input);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn official(folder: PathBuf) -> Result<PathBuf> {
    match SERVERS.iter().chain(&["kubectl"]).find(|name| !folder.join(name).exists()) {
        Some(name) => Err(Error::Config(format!("KUBE_BIN: there is no {name} in {}", folder.display()))),
        None => Ok(folder),
    }
}

fn kube() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube");
    let files = ["go.mod", "go.sum", "kubernetes/main.go", "kubectl/main.go"];
    let texts = files.iter().map(|file| read(&source.join(file))).collect::<Result<Vec<_>>>()?;
    let folder = cache()?.join(format!("kube-{}", fingerprint(&texts)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let module = texts.first().map(String::as_str).unwrap_or_default();
    let version =
        module.split_whitespace().skip_while(|word| *word != "k8s.io/kubernetes").nth(1).unwrap_or("v0.0.0");
    println!("building Kubernetes {version} for the lab: minutes, once");
    let mut numbers = version.trim_start_matches('v').split('.');
    let set = "-X k8s.io/component-base/version.git";
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let flags = format!("-s -w {set}Version={version} {set}Major={major} {set}Minor={minor}");
    build_into(&folder, |unfinished| {
        let output = format!("{}/", unfinished.display());
        let go = [
            "go",
            "build",
            "-buildvcs=false",
            "-ldflags",
            &flags,
            "-o",
            &output,
            "./kubernetes",
            "./kubectl",
        ];
        run(command(&go).current_dir(&source))?;
        SERVERS.iter().try_for_each(|name| {
            symlink("kubernetes", unfinished.join(name)).map_err(Error::io(format!("linking {name}")))
        })
    })?;
    Ok(folder)
}

fn helm() -> Result<PathBuf> {
    let folder = cache()?.join(format!("helm-{HELM}"));
    if !folder.is_dir() {
        println!("building Helm {HELM} for the lab: a minute, once");
        build_into(&folder, |unfinished| {
            let package = format!("helm.sh/helm/v3/cmd/helm@{HELM}");
            let go = ["go", "install", "-buildvcs=false", "-ldflags", "-s -w", &package];
            run(command(&go).env("GOBIN", unfinished)).map(drop)
        })?;
    }
    Ok(folder.join("helm"))
}

/// Makes a folder of the cache by `build`, all of it or nothing.
fn build_into(folder: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = PathBuf::from(format!("{}.unfinished-{}", folder.display(), std::process::id()));
    remove_dir(&unfinished)?;
    create_dir(&unfinished)?;
    build(&unfinished)?;
    if entries(&unfinished).is_empty() {
        return Err(Error::Config(format!("the build left nothing in {}", unfinished.display())));
    }
    match fs::rename(&unfinished, folder) {
        // Another one was faster.
        Err(_) if folder.is_dir() => remove_dir(&unfinished),
        moved => moved.map_err(Error::io(format!("moving the build to {}", folder.display()))),
    }
}
