//! The chart as Helm renders it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use foghorn_lab::{Error, Result, foghorn::chart, steps::say};

use crate::cargo::run;

/// The oldest Kubernetes that the chart allows; Helm takes a still older one if it is told nothing.
const OLDEST: &str = "1.33.0";

/// Lints and renders the chart as it is and with the values of each example.
pub(crate) fn check(helm: &str) -> Result<()> {
    let chart = chart()?;
    let mut values = vec![chart.join("values.yaml")];
    values.extend(files(&chart.join("examples"))?);
    for values in values {
        say(&format!("    {}", values.display()));
        for args in [&["lint", "--strict", "--quiet"][..], &["template", "foghorn", "--kube-version", OLDEST]]
        {
            let mut command = Command::new(helm);
            command.args(args).arg(&chart).arg("--values").arg(&values).stdout(Stdio::null());
            run(&mut command)?;
        }
    }
    Ok(())
}

/// The files in a directory, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io(format!("reading {}", folder.display())))?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}
