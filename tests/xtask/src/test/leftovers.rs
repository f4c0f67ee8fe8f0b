//! What tests leave behind: namespaces of the machine's network, and of the labs' clusters.

use std::{collections::BTreeSet, fs, path::Path};

use foghorn_lab::{Error, Lab, LabName, Result};
use jiff::Timestamp;

use super::record::Record;

/// Where iproute2 keeps network namespaces.
const NETNS: &str = "/run/netns";
/// The namespaces of a lab's cluster that are there from its start, or that all tests share.
const KNOWN: [&str; 6] =
    ["default", "foghorn-system", "kube-node-lease", "kube-public", "kube-system", "web"];

/// The network namespaces that were there before.
#[derive(Clone, Debug)]
pub(crate) struct Before(BTreeSet<String>);

impl Before {
    pub(crate) fn now() -> Self {
        Self(network_namespaces(Path::new(NETNS)).into_iter().map(|(name, _)| name).collect())
    }

    /// Fails if there are others now.
    pub(crate) fn check(&self, record: &Record) -> Result<()> {
        let mut now = network_namespaces(Path::new(NETNS));
        now.retain(|(name, _)| !self.0.contains(name));
        complain(record, "the network namespace", &now)
    }
}

fn network_namespaces(folder: &Path) -> Vec<(String, Timestamp)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let made =
        |file: &fs::DirEntry| file.metadata().and_then(|metadata| metadata.modified()).ok()?.try_into().ok();
    files.filter_map(|file| Some((file.file_name().to_string_lossy().into_owned(), made(&file)?))).collect()
}

/// Fails if a lab's cluster has namespaces that are no plane's.
pub(crate) fn check_cluster(record: &Record, lab: &LabName) -> Result<()> {
    let lab = Lab::open(lab)?;
    let planes = lab.plane_namespaces()?;
    let mut left = lab.namespaces()?;
    left.retain(|(name, _)| !KNOWN.contains(&name.as_str()) && !planes.contains(name));
    complain(record, &format!("in the lab {} the namespace", lab.name()), &left)
}

fn complain(record: &Record, what: &str, left: &[(String, Timestamp)]) -> Result<()> {
    if left.is_empty() {
        return Ok(());
    }
    let line = |(name, made): &(String, Timestamp)| {
        format!("{what} {name} is left, made while these ran: {}", record.running_at(*made).join(", "))
    };
    Err(Error::Config(left.iter().map(line).collect::<Vec<_>>().join("\n")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test::record::Test;

    #[test]
    fn what_is_left_is_named_with_the_tests_that_ran() {
        let (record, now) = (Record::default(), Timestamp::now());
        let test = |name: &str, started| Test {
            name: name.to_owned(),
            passed: true,
            cause: None,
            started,
            took: Duration::from_secs(10),
            declared: None,
        };
        record.add(test("suspect", now - Duration::from_secs(5)), "");
        record.add(test("innocent", now - Duration::from_secs(60)), "");
        let error = complain(&record, "the namespace", &[("forgotten".to_owned(), now)]).unwrap_err();
        assert_eq!(error.to_string(), "the namespace forgotten is left, made while these ran: suspect");
        complain(&record, "the namespace", &[]).unwrap();
    }
}
