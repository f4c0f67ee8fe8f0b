//! The program `nft` for the image of the datapath: Debian's, with the libraries that it needs.

use std::path::Path;

use super::Binary;
use crate::{
    command::{command, run},
    error::Result,
};

const NFT: &str = "/usr/sbin/nft";
/// Where all of it is in the build context.
const ROOT: &str = "root";

/// Program, libraries and dynamic linker of this machine, at their own paths below `root`.
pub(super) fn files() -> Result<Vec<Binary>> {
    let needs = run(&mut command(&["ldd", NFT]))?;
    let mut paths: Vec<&str> = libraries(&needs).collect();
    paths.push(NFT);
    let binary = |path: &str| Binary {
        file: Path::new(path).to_owned(),
        name: format!("{ROOT}{path}"),
        capability: None,
    };
    Ok(paths.into_iter().map(binary).collect())
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
