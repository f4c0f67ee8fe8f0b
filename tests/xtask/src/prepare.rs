//! What a lab with Foghorn is made from, built where it is missing.

use std::{path::PathBuf, time::Duration};

use foghorn_lab::{
    Architecture, Profile, Programs, Progress, Result, build_images, compile, install_missing_packages,
};

use crate::{
    jobs::{Job, side_by_side},
    steps::step,
};

/// How long each takes the first time, side by side on two cores that do nothing else.
const PACKAGES: Duration = Duration::from_secs(60);
const KUBERNETES: Duration = Duration::from_secs(10 * 60);
const FOGHORN: Duration = Duration::from_secs(10 * 60);

/// Debian packages, Kubernetes and Helm, and Foghorn's images. Answers with the archives of the images.
pub(crate) fn all(profile: Profile) -> Result<Vec<PathBuf>> {
    let architecture = Architecture::of_this_machine()?;
    step("Debian packages, Kubernetes and Helm, and Foghorn, side by side", || {
        let packages = Job::new("Debian packages", PACKAGES, |_| install_missing_packages());
        side_by_side(vec![packages, kubernetes_job(), foghorn_job(architecture, profile)])
    })?;
    step("images of Foghorn", || build_images(architecture, profile))
}

/// Kubernetes and Helm.
pub(crate) fn kubernetes() -> Result<Programs> {
    side_by_side(vec![kubernetes_job()])?;
    Programs::find_or_build(&Progress::default())
}

/// Foghorn's images; answers with their archives.
pub(crate) fn images(architecture: Architecture, profile: Profile) -> Result<Vec<PathBuf>> {
    side_by_side(vec![foghorn_job(architecture, profile)])?;
    build_images(architecture, profile)
}

fn kubernetes_job<'a>() -> Job<'a> {
    Job::new("Kubernetes and Helm", KUBERNETES, |progress| Programs::find_or_build(progress).map(drop))
}

fn foghorn_job<'a>(architecture: Architecture, profile: Profile) -> Job<'a> {
    Job::new("Foghorn", FOGHORN, move |progress| compile(architecture, profile, progress))
}
