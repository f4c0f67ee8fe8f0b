//! What a lab with Foghorn is made from, built where it is missing.

use std::{path::PathBuf, time::Duration};

use crate::{
    error::Result,
    images::{Architecture, build_images, compile},
    jobs::{Job, side_by_side},
    packages::install_missing,
    programs::Programs,
    progress::Progress,
    steps::step,
};

/// How long each takes the first time, side by side on two cores that do nothing else.
const PACKAGES: Duration = Duration::from_secs(60);
const KUBERNETES: Duration = Duration::from_secs(10 * 60);
const FOGHORN: Duration = Duration::from_secs(13 * 60);

/// Debian packages, Kubernetes and Helm, and Foghorn's images. Answers with the archives of the images.
///
/// # Errors
/// The first one of them.
pub fn all() -> Result<Vec<PathBuf>> {
    let architecture = Architecture::of_this_machine()?;
    step("Debian packages, Kubernetes and Helm, and Foghorn, side by side", || {
        let packages = Job::new("Debian packages", PACKAGES, |_| install_missing());
        side_by_side(vec![packages, kubernetes_job(), foghorn_job(architecture)])
    })?;
    step("images of Foghorn", || build_images(architecture))
}

/// Kubernetes and Helm.
///
/// # Errors
/// As [`Programs::find_or_build`].
pub fn kubernetes() -> Result<Programs> {
    side_by_side(vec![kubernetes_job()])?;
    Programs::find_or_build(&Progress::default())
}

/// Foghorn's images; answers with their archives.
///
/// # Errors
/// As [`build_images`].
pub fn images(architecture: Architecture) -> Result<Vec<PathBuf>> {
    side_by_side(vec![foghorn_job(architecture)])?;
    build_images(architecture)
}

fn kubernetes_job<'a>() -> Job<'a> {
    Job::new("Kubernetes and Helm", KUBERNETES, |progress| Programs::find_or_build(progress).map(drop))
}

fn foghorn_job<'a>(architecture: Architecture) -> Job<'a> {
    Job::new("Foghorn", FOGHORN, move |progress| compile(architecture, progress))
}
