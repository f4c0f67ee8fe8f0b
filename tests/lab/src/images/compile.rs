//! The project's own images: static binaries, compiled here.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{Architecture, Binary, Image, build_for, libraries};
use crate::{
    command::run,
    error::{Error, Result},
    foghorn::root,
    progress::{Line, Progress, say},
};

/// What the announcer's binary is given: its user is not root, and a container's capabilities do not reach other users.
const ANNOUNCER_CAPABILITY: &str = "cap_net_raw+ep";
/// What its copy for planes with `hostAddress: Fenced` is given. In a container without both it cannot be started.
const NET_ADMIN_CAPABILITY: &str = "cap_net_raw,cap_net_admin+ep";

/// Which programs are in images.
const PACKAGES: [&str; 6] = ["-p", "foghorn-operator", "-p", "foghorn-announcer", "-p", "foghorn-datapath"];

/// Helm values that make the chart use the images that [`build_images`] builds.
pub const IMAGE_VALUES: [&str; 6] = [
    "operator.image.repository=localhost/foghorn-operator",
    "operator.image.tag=dev",
    "announcer.image.repository=localhost/foghorn-announcer",
    "announcer.image.tag=dev",
    "datapath.image.repository=localhost/foghorn-datapath",
    "datapath.image.tag=dev",
];

/// Compiles operator, announcer and datapath as static binaries and builds `localhost/foghorn-operator:dev` and so on. Answers with their archives.
///
/// # Errors
/// If [`compile`], setcap or buildah fails.
pub fn build_images(architecture: Architecture) -> Result<Vec<PathBuf>> {
    compile(architecture, &Progress::default())?;
    let root = root()?;
    let binaries = target(&root).join(architecture.target()).join("release");
    let images = images(architecture, |program| Ok(binaries.join(program)))?;
    let folder = root.join("target/images").join(architecture.name());
    images.iter().map(|image| build_for(architecture, image, &folder)).collect()
}

/// The images, made from the programs that `find` finds by their names.
pub(super) fn images(
    architecture: Architecture,
    find: impl Fn(&str) -> Result<PathBuf>,
) -> Result<Vec<Image>> {
    let root = root()?;
    let binary = |part: &str, suffix: &str, capability: Option<&str>| {
        Ok::<_, Error>(Binary {
            file: find(&format!("foghorn-{part}"))?,
            name: format!("foghorn-{part}{suffix}"),
            capability: capability.map(str::to_owned),
        })
    };
    let image = |part: &str, binaries| Image {
        name: format!("localhost/foghorn-{part}:dev"),
        dockerfile: root.join(part).join("Dockerfile"),
        binaries,
    };
    let operator = vec![binary("operator", "", None)?];
    let announcer = vec![
        binary("announcer", "", Some(ANNOUNCER_CAPABILITY))?,
        binary("announcer", "-net-admin", Some(NET_ADMIN_CAPABILITY))?,
    ];
    let mut images = vec![image("operator", operator), image("announcer", announcer)];
    if architecture == Architecture::of_this_machine()? {
        let mut datapath = vec![binary("datapath", "", None)?];
        datapath.extend(libraries::nft()?);
        let dockerfile = root.join("announcer/datapath/Dockerfile");
        images.push(Image { dockerfile, ..image("datapath", datapath) });
    } else {
        say(&format!(
            "foghorn-datapath has Debian's nft in it: build that image on a machine with {}",
            architecture.name()
        ));
    }
    Ok(images)
}

/// The part of [`build_images`] that takes minutes. For this machine's architecture it needs none of the packages that
/// [`install_missing_packages`](crate::install_missing_packages) installs.
///
/// # Errors
/// If there is no Rust target for the architecture, or cargo fails.
pub(crate) fn compile(architecture: Architecture, progress: &Progress) -> Result<()> {
    let root = root()?;
    let cargo = |subcommand: &str| {
        let mut cargo = architecture.cargo(subcommand)?;
        cargo.args(PACKAGES).current_dir(&root).env("CARGO_TARGET_DIR", target(&root));
        Ok::<_, Error>(cargo)
    };
    let tree = run(cargo("tree")?.args(["--edges", "normal,build", "--prefix", "none"]))?;
    progress.expect(packages_in(&tree));
    let seen = Mutex::new(HashSet::new());
    let is_new = |package| seen.lock().unwrap_or_else(PoisonError::into_inner).insert(package);
    let build = ["--quiet", "--message-format=json-render-diagnostics", "--release"];
    progress.watch(cargo("build")?.args(build), |line| {
        if !line.starts_with('{') {
            Line::Text
        } else if package(line).is_some_and(is_new) {
            Line::Package
        } else {
            Line::Noise
        }
    })
}

fn target(root: &Path) -> PathBuf {
    root.join("target/static")
}

/// How many packages `cargo tree` lists: ` (*)` marks one that it has listed before.
fn packages_in(tree: &str) -> usize {
    let packages = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    packages.filter(|package| !package.is_empty()).collect::<HashSet<_>>().len()
}

/// The package that this message of cargo says has been compiled, or was compiled before.
fn package(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_build_script = message.pointer("/target/kind/0")? == "custom-build";
    let is_compiled = message.get("reason")? == "compiler-artifact" && !is_build_script;
    message.get("package_id").filter(|_| is_compiled)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_of_the_tree_counts_once() {
        let tree = "foghorn-shell v0.1.0 (/foghorn/shell)\nserde v1.0.1\nserde_derive v1.0.1 (proc-macro)\n\nserde v1.0.1\n";
        assert_eq!(packages_in(&format!("{tree}foghorn-shell v0.1.0 (/foghorn/shell) (*)")), 3);
    }

    #[test]
    fn a_package_counts_when_its_library_or_program_is_there() {
        let message = |reason: &str, kind: &str| {
            format!(r#"{{"reason":"{reason}","package_id":"a#1.0.0","target":{{"kind":["{kind}"]}}}}"#)
        };
        assert_eq!(package(&message("compiler-artifact", "lib")).as_deref(), Some("a#1.0.0"));
        assert_eq!(package(&message("compiler-artifact", "custom-build")), None);
        assert_eq!(package(&message("compiler-message", "lib")), None);
        assert_eq!(package(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(package("error: no"), None);
    }
}
