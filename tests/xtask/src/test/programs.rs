//! The test programs: all are compiled by two calls of cargo, with one profile and one set of features.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use foghorn_lab::{Error, Result};
use serde_json::Value;

use crate::cargo::{cargo, shown};

/// The programs that need root: a lab or network namespaces of their own: `test = false` in their manifests.
const WITH_LABS: [&str; 5] = ["e2e", "interop", "kernel", "real", "system"];

/// A program of tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// The target's name, e.g. `e2e`.
    pub(crate) name: String,
    /// The package's, e.g. `foghorn-e2e`.
    pub(crate) package: String,
    pub(crate) file: PathBuf,
    /// The package's directory.
    pub(crate) folder: PathBuf,
}

/// What was compiled.
#[derive(Clone, Default, Debug)]
pub(crate) struct Compiled {
    pub(crate) tests: Vec<Program>,
    /// Other programs by their names.
    pub(crate) programs: BTreeMap<String, PathBuf>,
}

impl Compiled {
    /// The test program of that target, one of [`WITH_LABS`].
    pub(crate) fn test(&self, name: &str) -> Result<&Program> {
        let found = self.tests.iter().find(|program| program.name == name);
        found.ok_or_else(|| Error::Config(format!("cargo has not compiled the tests `{name}`")))
    }

    /// The program of that name.
    pub(crate) fn program(&self, name: &str) -> Result<&Path> {
        let found = self.programs.get(name).map(PathBuf::as_path);
        found.ok_or_else(|| Error::Config(format!("cargo has not compiled {name}")))
    }

    /// The test programs that need no lab.
    pub(crate) fn without_labs(&self) -> impl Iterator<Item = &Program> {
        self.tests.iter().filter(|program| !WITH_LABS.contains(&program.name.as_str()))
    }
}

/// Compiles all programs and tests, and lints what it compiles.
pub(crate) fn compile() -> Result<Compiled> {
    let mut compiled = Compiled::default();
    build(&["--bins", "--tests"], &mut compiled)?;
    let with_labs: Vec<_> = WITH_LABS.iter().flat_map(|name| ["--test", name]).collect();
    build(&with_labs, &mut compiled)?;
    Ok(compiled)
}

/// clippy stands in for the compiler of the project's own crates: its lints come with the code, not in a second run over all
/// crates and what they depend on. `cargo clippy` does the same, but its `cargo check` makes no code.
fn build(what: &[&str], compiled: &mut Compiled) -> Result<()> {
    let all = ["build", "--workspace", "--all-features", "--message-format=json-render-diagnostics"];
    let mut command = cargo(&[&all[..], what].concat())?;
    command.env("RUSTC_WORKSPACE_WRAPPER", clippy_driver()?);
    // Arguments of clippy-driver, separated as cargo-clippy does.
    command.env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    let doing = format!("running {}", shown(&command));
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(Error::io(doing))?;
    let lines =
        child.stdout.take().map(|stdout| BufReader::new(stdout).lines().map_while(std::io::Result::ok));
    lines.into_iter().flatten().for_each(|line| compiled.add(&line));
    if child.wait().map_err(Error::io("waiting for cargo"))?.success() {
        Ok(())
    } else {
        Err(Error::Config(format!("`{}` failed", shown(&command))))
    }
}

impl Compiled {
    /// Adds what a message of cargo says was compiled.
    fn add(&mut self, message: &str) {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return };
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        let (Some(file), Some(name), Some(manifest)) =
            (text("/executable"), text("/target/name"), text("/manifest_path"))
        else {
            return;
        };
        let (name, file) = (name.to_owned(), PathBuf::from(file));
        if message.pointer("/profile/test") != Some(&Value::Bool(true)) {
            self.programs.insert(name, file);
            return;
        }
        let folder = Path::new(manifest).parent().unwrap_or(Path::new("/")).to_owned();
        let package = text("/package_id").map(package).unwrap_or_default().to_owned();
        self.tests.push(Program { name, package, file, folder });
    }
}

/// The name in a package's id: `path+file:///…/tests/e2e#foghorn-e2e@0.1.0`, or `…/xtask#0.1.0`.
fn package(id: &str) -> &str {
    let (path, version) = id.split_once('#').unwrap_or((id, ""));
    version.split_once('@').map_or_else(|| path.rsplit('/').next().unwrap_or(path), |(name, _)| name)
}

/// The one that belongs to this cargo.
fn clippy_driver() -> Result<PathBuf> {
    let beside = env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("clippy-driver"));
    let driver = beside.filter(|driver| driver.exists()).unwrap_or_else(|| "clippy-driver".into());
    let found = Command::new(&driver).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(driver),
        _ => Err(Error::Config(
            "clippy is not installed: `rustup component add clippy` installs it".to_owned(),
        )),
    }
}

/// The names of a program's tests, but of those that another test starts by itself and that are ignored otherwise.
pub(crate) fn list(program: &Program) -> Result<Vec<String>> {
    let ignored = names(program, &["--ignored"])?;
    Ok(names(program, &[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}

fn names(program: &Program, more: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new(&program.file);
    command.args(["--list", "--format", "terse"]).args(more).current_dir(&program.folder);
    let output = command.output().map_err(Error::io(format!("running {}", program.file.display())))?;
    if !output.status.success() {
        return Err(Error::Config(format!("{} does not list its tests", program.file.display())));
    }
    let output = String::from_utf8_lossy(&output.stdout);
    Ok(output.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo_tell_tests_from_programs() {
        let message = |name: &str, test: bool, file: &str| {
            let id = "path+file:///foghorn/tests/e2e#foghorn-e2e@0.1.0";
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","manifest_path":"/foghorn/tests/e2e/Cargo.toml","target":{{"name":"{name}"}},"profile":{{"test":{test}}},"executable":{file}}}"#
            )
        };
        let mut compiled = Compiled::default();
        compiled.add(&message("e2e", true, "\"/target/e2e-1\""));
        compiled.add(&message("foghorn-operator", false, "\"/target/foghorn-operator\""));
        compiled.add(&message("foghorn_crds", false, "null"));
        compiled.add("warning: not a message");
        let expected = Program {
            name: "e2e".to_owned(),
            package: "foghorn-e2e".to_owned(),
            file: "/target/e2e-1".into(),
            folder: "/foghorn/tests/e2e".into(),
        };
        assert_eq!(compiled.tests, [expected]);
        assert_eq!(compiled.programs.into_keys().collect::<Vec<_>>(), ["foghorn-operator"]);
    }

    #[test]
    fn a_package_is_named_in_its_id() {
        assert_eq!(package("path+file:///foghorn/tests/e2e#foghorn-e2e@0.1.0"), "foghorn-e2e");
        assert_eq!(package("path+file:///foghorn/tests/xtask#0.1.0"), "xtask");
    }
}
