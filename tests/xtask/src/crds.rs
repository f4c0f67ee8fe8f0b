//! `cargo xtask crds`: the custom resource definitions of the chart, generated from the Rust types.

use std::{
    collections::BTreeSet,
    env, fs,
    path::PathBuf,
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
    if arguments.check {
        check()?;
    } else {
        write()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails unless the chart has the definitions that are generated, and no others.
pub(crate) fn check() -> Result<()> {
    let generated = generated()?;
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

fn write() -> Result<()> {
    for (path, yaml) in generated()? {
        fs::write(&path, yaml)
            .map_err(|source| Error::Io { doing: format!("writing {}", path.display()), source })?;
        say(&path.display().to_string());
    }
    Ok(())
}

fn folder() -> Result<PathBuf> {
    Ok(chart()?.join("crds"))
}

/// The files of the definitions with their texts.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    // With the features of the whole workspace, as for the tests: so that nothing is compiled twice.
    run_command(&mut cargo(&["build", "--quiet", "--workspace", "--bin", "crdgen"])?)?;
    let io = |doing: &str| {
        let doing = doing.to_owned();
        |source| Error::Io { doing, source }
    };
    let crdgen = env::current_exe().map_err(io("finding this program"))?.with_file_name("crdgen");
    let output = Command::new(&crdgen).output().map_err(io("running crdgen"))?;
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
