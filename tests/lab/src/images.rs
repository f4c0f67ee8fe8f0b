//! The images: those of the lab itself, and the project's own; built without a network from scratch and static binaries.

mod architecture;
mod compile;
mod dynamic;
mod libraries;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use architecture::Architecture;
pub(crate) use compile::compile;
pub use compile::{IMAGE_VALUES, build_images};
pub use dynamic::build_test_images;

use crate::{
    command::{command, create_dir, entries, read, remove_dir, run},
    error::{Error, Result},
    programs::{cache, fingerprint},
    progress::say,
};

/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// What an image is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Its name with tag, e.g. `localhost/web:1`.
    pub name: String,
    /// Its Dockerfile.
    pub dockerfile: PathBuf,
    /// All of the build context.
    pub binaries: Vec<Binary>,
}

/// A program in an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binary {
    /// What it is copied from.
    pub file: PathBuf,
    /// Its name in the build context.
    pub name: String,
    /// Its file capabilities as `setcap` takes them.
    pub capability: Option<String>,
}

/// Builds the lab's images: `localhost/pause:1` and `localhost/web:1` (a web server on port 8080, or `PORT`, that answers with
/// `POD_NAME` and `NODE_NAME`). Answers with their archives.
///
/// # Errors
/// If buildah fails.
pub fn build_lab_images() -> Result<Vec<PathBuf>> {
    let image = |name: &str| Image {
        name: format!("localhost/{name}:1"),
        dockerfile: Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join(name).join("Dockerfile"),
        binaries: vec![Binary { file: BUSYBOX.into(), name: "busybox".to_owned(), capability: None }],
    };
    let folder = cache()?.join("images");
    ["pause", "web"].iter().map(|name| build_image(&image(name), &folder)).collect()
}

/// Builds an image for this machine into an archive in `folder`, unless the archive there was made from the same things.
///
/// # Errors
/// If setcap or buildah fails.
pub fn build_image(image: &Image, folder: &Path) -> Result<PathBuf> {
    build_for(Architecture::of_this_machine()?, image, folder)
}

fn build_for(architecture: Architecture, image: &Image, folder: &Path) -> Result<PathBuf> {
    let Image { name, dockerfile, binaries } = image;
    let mut print = vec![name.clone().into_bytes(), read(dockerfile)?.into_bytes()];
    for Binary { file, name, capability } in binaries {
        let bytes = fs::read(file).map_err(Error::io(format!("reading {}", file.display())))?;
        print.extend([name.clone().into_bytes(), bytes, capability.clone().unwrap_or_default().into_bytes()]);
    }
    let print = fingerprint(print);
    let stem = name.replace(['/', ':'], "-");
    let archive = folder.join(format!("{stem}-{print}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    say(&format!("building the image {name}"));
    let work = folder.join(format!("{stem}.unfinished-{}", std::process::id()));
    remove_dir(&work)?;
    let (context, storage) = (work.join("context"), work.join("storage"));
    create_dir(&context)?;
    for Binary { file, name, capability } in binaries {
        let staged = context.join(name);
        if let Some(folder) = staged.parent() {
            create_dir(folder)?;
        }
        fs::copy(file, &staged).map_err(Error::io(format!("copying {}", file.display())))?;
        if let Some(capability) = capability {
            run(&mut command(&["setcap", capability, &staged.display().to_string()]))?;
        }
    }
    let [context, storage] = [context, storage].map(|path| path.display().to_string());
    let (dockerfile, unfinished) = (dockerfile.display().to_string(), work.join("image.tar"));
    let runtime = format!("{storage}/run");
    let buildah = |args: &[&str]| {
        let place = ["buildah", "--storage-driver", "vfs", "--root", &storage, "--runroot", &runtime];
        run(&mut command(&place.iter().chain(args).copied().collect::<Vec<_>>()))
    };
    let arch = ["bud", "--arch", architecture.name()];
    let how = ["--isolation", "chroot", "--layers=false", "-t", name, "-f", &dockerfile, &context];
    buildah(&[&arch[..], &how].concat())?;
    buildah(&["push", "-q", name, &format!("docker-archive:{}:{name}", unfinished.display())])?;
    for old in
        entries(folder).iter().filter(|file| file.starts_with(&format!("{stem}-")) && file.ends_with(".tar"))
    {
        // Another run may have removed it.
        let _gone = fs::remove_file(folder.join(old));
    }
    fs::rename(&unfinished, &archive)
        .map_err(Error::io(format!("moving the image to {}", archive.display())))?;
    remove_dir(&work)?;
    Ok(archive)
}
