//! Images for tests: the programs that the tests were compiled with, as they are, with the libraries that they need.
//!
//! Nothing is compiled for them. What users run are the static release programs of [`build_images`](super::build_images).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Architecture, Image, build_for, compile::images, libraries};
use crate::{
    command::{command, create_dir, read, run, write},
    error::{Error, Result},
    foghorn::root,
};

/// Where the libraries are in the build context.
const LIBRARIES: &str = "COPY root /";

/// Builds `localhost/foghorn-operator:dev` and so on from programs of this machine by their names. Answers with the archives.
///
/// # Errors
/// If a program is missing, or setcap or buildah fails.
pub fn build_test_images(programs: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let architecture = Architecture::of_this_machine()?;
    let folder = root()?.join("target/images/test");
    create_dir(&folder)?;
    // Each node unpacks them: without debug information they are a third of the size.
    let strip = |name: &str| {
        let program = programs.get(name).ok_or_else(|| Error::Config(format!("{name} is not compiled")))?;
        let stripped = folder.join(name);
        let [from, to] = [program, &stripped].map(|path| path.display().to_string());
        run(&mut command(&["strip", "--strip-debug", "-o", &to, &from]))?;
        Ok(stripped)
    };
    let images = images(architecture, strip)?;
    images
        .into_iter()
        .map(|image| build_for(architecture, &with_libraries(image, &folder)?, &folder))
        .collect()
}

/// The image with the libraries of all its programs.
fn with_libraries(mut image: Image, folder: &Path) -> Result<Image> {
    let text = read(&image.dockerfile)?;
    let mut libraries = BTreeMap::new();
    for binary in &image.binaries {
        if !binary.name.starts_with(libraries::ROOT) {
            libraries.extend(libraries::of(&binary.file)?.into_iter().map(|it| (it.name.clone(), it)));
        }
    }
    image.binaries.iter().for_each(|binary| drop(libraries.remove(&binary.name)));
    image.binaries.extend(libraries.into_values());
    if !text.contains(LIBRARIES) {
        let name = image.name.replace(['/', ':'], "-");
        image.dockerfile = folder.join(format!("{name}.Dockerfile"));
        write(&image.dockerfile, text.replace("FROM scratch\n", &format!("FROM scratch\n{LIBRARIES}\n")))?;
    }
    Ok(image)
}
