//! What an installation of packages leaves alone. Nothing is installed here.

use std::{fs, path::Path};

use foghorn_lab::{Apt, Error, without_services};

/// What Debian's packages call to start and to enable services.
const HELPERS: [&str; 4] = [
    "/usr/sbin/invoke-rc.d",
    "/usr/sbin/update-rc.d",
    "/usr/bin/deb-systemd-invoke",
    "/usr/bin/deb-systemd-helper",
];

/// Docker's packages as dpkg knows them: they bring containerd and runc, and exclude Debian's.
const DOCKER: &str = "\
Package: containerd.io
Status: install ok installed
Maintainer: Docker <support@docker.com>
Architecture: amd64
Version: 1.7.22-1
Provides: containerd, runc
Conflicts: containerd, runc
Replaces: containerd, runc
Description: Docker's containerd

Package: docker-ce
Status: install ok installed
Maintainer: Docker <support@docker.com>
Architecture: amd64
Version: 5:27.3.1-1
Depends: containerd.io (>= 1.6.24)
Description: Docker

";

#[test]
fn docker_is_not_removed_for_debians_containerd() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-with-docker");
    let amd64 = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    fs::write(&file, DOCKER.replace("amd64", amd64)).unwrap();
    let apt = Apt::with_status(&file);
    apt.simulate(&["tcpdump"]).unwrap_or_else(|error| panic!("run `apt-get update` first: {error}"));
    for package in ["containerd", "runc"] {
        let error = apt.simulate(&[package, "tcpdump"]).unwrap_err();
        assert!(matches!(&error, Error::WouldRemove { removed, .. } if removed == "containerd.io docker-ce"));
        assert!(error.to_string().contains("nothing was changed"), "{error}");
    }
}

#[test]
fn an_unknown_package_is_an_error_of_apt() {
    let error = Apt::new().simulate(&["foghorn-no-such-package"]).unwrap_err();
    assert!(
        matches!(&error, Error::Command { output, .. } if output.contains("Unable to locate")),
        "{error}"
    );
}

#[test]
fn an_installation_starts_and_enables_no_service() {
    let present: Vec<_> = HELPERS.into_iter().filter(|helper| Path::new(helper).exists()).collect();
    assert!(!present.is_empty());
    let before: Vec<_> = present.iter().map(|helper| fs::read(helper).unwrap()).collect();
    let enable = "for helper in \"$@\"; do \"$helper\" no-such-option-or-service || exit 1; done";
    let inside = [&["sh", "-c", enable, "sh"], &present[..]].concat();
    assert!(without_services(&inside).status().unwrap().success(), "what replaces them does nothing");
    let after: Vec<_> = present.iter().map(|helper| fs::read(helper).unwrap()).collect();
    assert_eq!(before, after, "they are replaced inside only");
}
