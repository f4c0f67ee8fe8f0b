//! `cargo xtask crds`: the custom resource definitions of the chart, generated from the Rust types.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use foghorn_lab::{Error, Result, foghorn::chart, steps::say};

use crate::cargo::{cargo, run as run_command};

/// What to do with them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the chart has others
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let crdgen = compile()?;
    if arguments.check {
        check(&crdgen)?;
    } else {
        write(&crdgen)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails unless the chart has the definitions that the program `crdgen` prints, and no others.
pub(crate) fn check(crdgen: &Path) -> Result<()> {
    let generated = generated(crdgen)?;
    for (path, yaml) in &generated {
        if fs::read_to_string(path).ok().as_ref() != Some(yaml) {
            let path = path.display();
            return Err(Error::Config(format!(
                "{path} is not what the types say: `cargo xtask crds` writes it"
            )));
        }
    }
    let folder = folder()?;
    let known: BTreeSet<_> = generated.into_iter().map(|(path, _)| path).collect();
    let entries = fs::read_dir(&folder)
        .map_err(|source| Error::Io { doing: format!("reading {}", folder.display()), source })?;
    match entries.flatten().map(|entry| entry.path()).find(|path| !known.contains(path)) {
        Some(path) => {
            Err(Error::Config(format!("{} is not generated from any type: remove it", path.display())))
        }
        None => Ok(()),
    }
}

fn write(crdgen: &Path) -> Result<()> {
    for (path, yaml) in generated(crdgen)? {
        fs::write(&path, yaml)
            .map_err(|source| Error::Io { doing: format!("writing {}", path.display()), source })?;
        say(&path.display().to_string());
    }
    Ok(())
}

fn folder() -> Result<PathBuf> {
    Ok(chart()?.join("crds"))
}

/// Compiles the program that prints the definitions.
fn compile() -> Result<PathBuf> {
    run_command(&mut cargo(&["build", "--quiet", "--package", "foghorn-crds", "--bin", "crdgen"])?)?;
    let this = env::current_exe().map_err(Error::io("finding this program"))?;
    Ok(this.with_file_name("crdgen"))
}

/// The files of the definitions with their texts.
fn generated(crdgen: &Path) -> Result<Vec<(PathBuf, String)>> {
    let output = Command::new(crdgen).output().map_err(Error::io("running crdgen"))?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Config(format!("crdgen failed: {output}")));
    }
    let folder = folder()?;
    let documents = String::from_utf8_lossy(&output.stdout).into_owned();
    let named = |yaml: &str| match plural(yaml) {
        Some(plural) => Ok((folder.join(format!("{plural}.yaml")), yaml.to_owned())),
        None => Err(Error::Config(format!("crdgen printed a definition without a plural:\n{yaml}"))),
    };
    documents.split("---\n").filter(|yaml| !yaml.is_empty()).map(named).collect()
}

/// `spec.names.plural` of a definition.
fn plural(yaml: &str) -> Option<&str> {
    yaml.lines().find_map(|line| line.strip_prefix("    plural: "))
}
