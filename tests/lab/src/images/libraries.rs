//! Programs of this machine in images, with the libraries that they need.

use std::path::Path;

use super::Binary;
use crate::{
    command::{command, run},
    error::Result,
};

const NFT: &str = "/usr/sbin/nft";
/// Where libraries are in the build context.
pub(super) const ROOT: &str = "root";

/// Debian's `nft` for the image of the datapath, with its libraries.
pub(super) fn nft() -> Result<Vec<Binary>> {
    let mut files = of(Path::new(NFT))?;
    files.push(at_its_path(NFT));
    Ok(files)
}

/// The libraries of a program and the dynamic linker of this machine, at their own paths below [`ROOT`].
pub(super) fn of(program: &Path) -> Result<Vec<Binary>> {
    let needs = run(&mut command(&["ldd", &program.display().to_string()]))?;
    Ok(libraries(&needs).map(at_its_path).collect())
}

fn at_its_path(path: &str) -> Binary {
    Binary { file: Path::new(path).to_owned(), name: format!("{ROOT}{path}"), capability: None }
}

/// The files that `ldd` names: `libmnl.so.0 => /lib/…/libmnl.so.0 (0x…)`, or the linker without an arrow.
fn libraries(needs: &str) -> impl Iterator<Item = &str> {
    needs.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_their_paths() {
        let needs = "\tlinux-vdso.so.1 (0x00007ff)\n\tlibmnl.so.0 => /lib/x/libmnl.so.0 (0x00007f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(libraries(needs).collect::<Vec<_>>(), ["/lib/x/libmnl.so.0", "/lib64/ld.so.2"]);
    }
}
