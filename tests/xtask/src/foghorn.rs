//! A lab with Foghorn in it.

use std::path::PathBuf;

use foghorn_lab::{Config, IMAGE_VALUES, Lab, Profile, Result};

use crate::{
    prepare,
    steps::{root, step},
};

/// All up to a lab with the images of Foghorn in it.
pub(crate) fn set_up(config: Config) -> Result<Lab> {
    let images = prepare::all(Profile::Release)?;
    let nodes = if config.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", config.nodes) };
    let lab = step(&format!("lab `{}`: a control plane and {nodes}", config.name), || Lab::up(config))?;
    step("load the images into the nodes", || images.iter().try_for_each(|image| lab.load_image(image)))?;
    Ok(lab)
}

/// The chart's folder.
pub(crate) fn chart() -> Result<PathBuf> {
    Ok(root()?.join("helm/foghorn"))
}

/// Installs the chart and waits for the operator; `more` are further arguments of Helm.
pub(crate) fn install_chart(lab: &Lab, more: &[&str]) -> Result<()> {
    let chart = chart()?.display().to_string();
    let mut args = vec!["install", "foghorn", &chart, "--namespace", "foghorn-system", "--create-namespace"];
    args.extend(["--wait", "--timeout", "120s"]);
    args.extend(more);
    IMAGE_VALUES.iter().for_each(|value| args.extend(["--set", value]));
    lab.helm(&args).map(drop)
}
