//! apt, kept from changing more of the computer than it was asked to.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    command::{command, run},
    error::{Error, Result},
};

/// What Debian's packages call to start a service and to enable it for the next boot, each replaced by a program that does nothing.
/// The replacement is a mount in a namespace of the installation's own: it ends with the installation, however that ends, and no
/// other process sees it, a second installation included.
const WITHOUT_SERVICES: &str = r#"set -e
for helper in /usr/sbin/invoke-rc.d /usr/sbin/update-rc.d /usr/bin/deb-systemd-invoke /usr/bin/deb-systemd-helper; do
  if [ -e "$helper" ]; then mount --bind /bin/true "$helper"; fi
done
exec "$@""#;

/// apt-get with options of its own.
#[derive(Clone, Default, Debug)]
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// That of this computer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that believes what this file says of the packages that are installed. Good for [`Self::simulate`] only.
    #[must_use]
    pub fn with_status(file: &Path) -> Self {
        Self { options: vec![format!("-oDir::State::status={}", file.display())] }
    }

    /// Reads the lists of packages anew.
    ///
    /// # Errors
    /// If apt-get fails.
    pub fn update(&self) -> Result<()> {
        run(&mut command(&["apt-get", "update", "-q"])).map(drop)
    }

    /// Installs packages and what they depend on. Nothing that is there is removed, and none of the packages is upgraded. No service is
    /// started or enabled. (A later upgrade of a package with a service may enable it, as Debian does: that is not the lab's doing.)
    ///
    /// # Errors
    /// As [`Self::simulate`].
    pub fn install(&self, packages: &[&str]) -> Result<()> {
        self.simulate(packages)?;
        run(&mut without_services(&self.command(&["-y"], packages))).map(drop)
    }

    /// Finds out whether [`Self::install`] would work, and changes nothing.
    ///
    /// # Errors
    /// [`Error::WouldRemove`]; [`Error::Command`] if a package is unknown.
    pub fn simulate(&self, packages: &[&str]) -> Result<()> {
        let mut simulation = command(&self.command(&["--simulate"], packages));
        let output = simulation.env("LC_ALL", "C").stdin(Stdio::null()).output();
        let output = output.map_err(Error::io("running apt-get: the lab needs Debian"))?;
        let [said, errors] =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let removed = removed(&said);
        if !removed.is_empty() {
            return Err(Error::WouldRemove { packages: packages.join(" "), removed: removed.join(" ") });
        }
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: format!("apt-get install --simulate {}", packages.join(" ")),
            status: output.status.to_string(),
            output: errors.trim().to_owned(),
        })
    }

    fn command(&self, how: &[&str], packages: &[&str]) -> Vec<String> {
        let always = [
            "--quiet",
            "--no-remove",
            "--no-upgrade",
            "--no-install-recommends",
            "-oDPkg::Lock::Timeout=300",
        ];
        let words = ["apt-get", "install"].iter().chain(how).chain(&always).map(|&word| word.to_owned());
        let packages = packages.iter().map(|&package| package.to_owned());
        words.chain(self.options.iter().cloned()).chain(packages).collect()
    }
}

/// A command in whose mount namespace Debian's packages start and enable no service.
#[must_use]
pub fn without_services<S: AsRef<str>>(words: &[S]) -> Command {
    let inside = ["unshare", "--mount", "--propagation=private", "sh", "-c", WITHOUT_SERVICES, "install"];
    let mut command = command(&inside);
    command.args(words.iter().map(AsRef::as_ref)).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The packages that apt-get would remove: indented lines below a heading.
fn removed(said: &str) -> Vec<&str> {
    let below = said.lines().skip_while(|line| !line.contains("will be REMOVED")).skip(1);
    below.take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_remove_is_read_from_its_answer() {
        let said = "The following additional packages will be installed:\n  libc6 runc\n\
            The following packages will be REMOVED:\n  containerd.io\n  docker-ce docker-ce-cli\n\
            The following NEW packages will be installed:\n  containerd runc\n";
        assert_eq!(removed(said), ["containerd.io", "docker-ce", "docker-ce-cli"]);
        assert_eq!(removed("The following NEW packages will be installed:\n  containerd\n"), [""; 0]);
    }

    #[test]
    fn apt_may_neither_remove_nor_upgrade() {
        let install = Apt::new().command(&["-y"], &["tcpdump"]);
        for option in ["--no-remove", "--no-upgrade", "--no-install-recommends"] {
            assert!(install.iter().any(|word| word == option), "{install:?}");
        }
    }
}
