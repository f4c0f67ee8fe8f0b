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
    progress::{Line, Progress},
};

/// Helm: a tool of the Go module, which pins its version.
const HELM: &str = "helm.sh/helm/v3/cmd/helm";
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
    pub fn find_or_build(progress: &Progress) -> Result<Self> {
        let (kube, helm) = match env::var_os("KUBE_BIN") {
            Some(folder) => (official(PathBuf::from(folder))?, build("helm", &[HELM], progress)?),
            None => {
                let folder = build("kube", &["./kubernetes", "./kubectl", HELM], progress)?;
                (folder.clone(), folder)
            }
        };
        Ok(Self { kube, helm: helm.join("helm") })
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

/// The folder of the cache with these programs. One `go build` makes them all: what they share is compiled once.
fn build(name: &str, programs: &[&str], progress: &Progress) -> Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("kube");
    let flags = flags(&read(&module.join("go.mod"))?);
    let folder = cache()?.join(format!("{name}-{}", fingerprint(inputs(&module, &flags)?)));
    if folder.is_dir() {
        return Ok(folder);
    }
    let go = |words: &[&str]| {
        let mut go = command(&["go"]);
        // Less of the time goes into garbage collection, for some hundred megabytes more.
        go.args(words).args(&flags).args(programs).current_dir(&module).env("GOGC", "400");
        go
    };
    build_into(&folder, |unfinished| {
        let stale = run(&mut go(&["list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"]))?;
        progress.expect(stale.lines().count());
        progress.watch(&mut go(&["build", "-v", "-o", &format!("{}/", unfinished.display())]), sort)?;
        let servers = SERVERS.iter().filter(|_| unfinished.join("kubernetes").exists());
        servers.into_iter().try_for_each(|name| {
            symlink("kubernetes", unfinished.join(name)).map_err(Error::io(format!("linking {name}")))
        })
    })?;
    Ok(folder)
}

/// How to compile: without debug information, which the linker would only strip, and with the version that Kubernetes tells.
fn flags(module: &str) -> [String; 4] {
    let mut words = module.split_whitespace();
    let version =
        words.find(|word| *word == "k8s.io/kubernetes").and_then(|_| words.next()).unwrap_or("v0.0.0");
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let set = "-X k8s.io/component-base/version.git";
    let link = format!("-s -w {set}Version={version} {set}Major={major} {set}Minor={minor}");
    ["-buildvcs=false".to_owned(), "-gcflags=all=-dwarf=false".to_owned(), "-ldflags".to_owned(), link]
}

/// All that the programs follow from: the flags, and each file of the module with its path.
fn inputs(module: &Path, flags: &[String]) -> Result<Vec<String>> {
    let mut inputs = flags.to_vec();
    let mut paths = vec![module.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(entries(&path).iter().rev().map(|name| path.join(name)));
        } else {
            let name = path.strip_prefix(module).unwrap_or(&path).display().to_string();
            inputs.extend([name, read(&path)?]);
        }
    }
    Ok(inputs)
}

/// `go build -v` writes the path of each package that it compiles, and what it downloads.
fn sort(line: &str) -> Line {
    if line.starts_with("go: downloading ") {
        Line::Noise
    } else if line.contains(char::is_whitespace) {
        Line::Text
    } else {
        Line::Package
    }
}

/// Makes a folder of the cache by `build`, all of it or nothing.
fn build_into(folder: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = PathBuf::from(format!("{}.unfinished-{}", folder.display(), std::process::id()));
    remove_dir(&unfinished)?;
    create_dir(&unfinished)?;
    build(&unfinished).inspect_err(|_| _ = remove_dir(&unfinished))?;
    if entries(&unfinished).is_empty() {
        return Err(Error::Config(format!("the build left nothing in {}", unfinished.display())));
    }
    match fs::rename(&unfinished, folder) {
        // Another one was faster.
        Err(_) if folder.is_dir() => remove_dir(&unfinished),
        moved => moved.map_err(Error::io(format!("moving the build to {}", folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_tells_the_version_that_the_module_requires() {
        let [.., link] = flags("module x\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)");
        let set = "-X k8s.io/component-base/version.git";
        assert_eq!(link, format!("-s -w {set}Version=v1.36.3 {set}Major=1 {set}Minor=36"));
    }

    #[test]
    fn each_file_of_the_module_is_an_input_of_the_build() {
        let module = env::temp_dir().join(format!("foghorn-lab-inputs-{}", std::process::id()));
        let print = || fingerprint(inputs(&module, &[]).unwrap());
        create_dir(&module.join("program")).unwrap();
        let mut prints = vec![print()];
        for (file, text) in
            [("go.mod", "a"), ("program/main.go", "a"), ("program/main.go", "b"), ("go.sum", "a")]
        {
            fs::write(module.join(file), text).unwrap();
            prints.push(print());
        }
        remove_dir(&module).unwrap();
        let different: std::collections::HashSet<_> = prints.iter().collect();
        assert_eq!(different.len(), 5);
    }

    #[test]
    fn packages_are_told_from_errors_in_what_go_writes() {
        assert_eq!(sort("k8s.io/api/core/v1"), Line::Package);
        assert_eq!(sort("go: downloading k8s.io/api v0.36.3"), Line::Noise);
        assert_eq!(sort("# k8s.io/api/core/v1"), Line::Text);
        assert_eq!(sort("core/v1/types.go:3:1: syntax error"), Line::Text);
    }
}
