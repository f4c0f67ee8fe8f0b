//! Foghorn: where its repository is, and a lab with Foghorn in it.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    images::IMAGE_VALUES,
    lab::{Config, Lab},
    prepare,
    steps::step,
};

/// The folder of the repository.
///
/// # Errors
/// If it is not where it was when this was compiled.
pub fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().map_err(Error::io(format!("finding {}", root.display())))
}

/// The chart's folder.
///
/// # Errors
/// As [`root`].
pub fn chart() -> Result<PathBuf> {
    Ok(root()?.join("helm/foghorn"))
}

/// The namespace of a plane's announcers and claims.
#[must_use]
pub fn namespace(plane: &str) -> String {
    format!("foghorn-{plane}")
}

/// Starts a lab with the images of Foghorn in it, and installs and builds what that needs.
///
/// # Errors
/// If a step fails.
pub fn set_up(config: Config) -> Result<Lab> {
    set_up_with(config, &prepare::all()?)
}

/// Starts a lab with these images in it.
///
/// # Errors
/// If a step fails.
pub fn set_up_with(config: Config, images: &[PathBuf]) -> Result<Lab> {
    let nodes = if config.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", config.nodes) };
    let lab = step(&format!("lab `{}`: a control plane and {nodes}", config.name), || Lab::up(config))?;
    step("load the images into the nodes", || images.iter().try_for_each(|image| lab.load_image(image)))?;
    Ok(lab)
}

/// Installs the chart and waits for the operator; `more` are further arguments of Helm.
///
/// # Errors
/// If Helm fails.
pub fn install_chart(lab: &Lab, more: &[&str]) -> Result<()> {
    let chart = chart()?.display().to_string();
    let mut args = vec!["install", "foghorn", &chart, "--namespace", "foghorn-system", "--create-namespace"];
    args.extend(["--wait", "--timeout", "120s"]);
    args.extend(more);
    IMAGE_VALUES.iter().for_each(|value| args.extend(["--set", value]));
    lab.helm(&args).map(drop)
}
