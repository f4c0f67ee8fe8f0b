//! The lane of a shared lab in which a test runs.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use foghorn_lab::{Error, Result, topology::Network};

use crate::{Cluster, PRIVATE, PUBLIC, Plane};

/// Announcers that send fewer heartbeats leave more of the machine to the tests, and on a busy one take nobody for lost who
/// is only late.
const RELAXED: &str = "failureDetection: {mode: Custom, intervalMilliseconds: 400, missedHeartbeats: 8}";

/// A lane: what is made in it has names of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lane(String);

impl Lane {
    /// The lane that `FOGHORN_LANE` names, if the lab is shared.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        env::var("FOGHORN_LANE").ok().map(Self)
    }

    /// The name that something has in this lane.
    fn name(&self, name: &str) -> String {
        format!("{name}-lane{}", self.0)
    }

    /// Whether something that has this name is in this lane.
    pub(crate) fn has(&self, name: &str) -> bool {
        name.ends_with(&self.name(""))
    }
}

impl Cluster {
    /// The name that a plane or namespace of this test has: `shop`, or `shop-lane2` in a shared lab.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        self.lane.as_ref().map_or_else(|| name.to_owned(), |lane| lane.name(name))
    }

    /// The test's own plane on the public network, ready on all nodes.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn plane(&self) -> Result<Plane> {
        self.base(PUBLIC)
    }

    /// The test's own plane on the private network, ready on all nodes.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn private_plane(&self) -> Result<Plane> {
        self.base(PRIVATE)
    }

    /// A further plane of this test; it is not made by this.
    #[must_use]
    pub fn plane_named(&self, name: &str, network: Network) -> Plane {
        Plane::named(&self.name(name), network)
    }

    /// A MAC address that no other lane uses.
    #[must_use]
    pub fn mac(&self, last: u8) -> String {
        let lane = self.lane.as_ref().and_then(|lane| lane.0.parse::<u8>().ok()).unwrap_or_default();
        format!("02:00:5e:10:{lane:02x}:{last:02x}")
    }

    /// A lane's base planes stay from test to test: announcers need not start for each.
    fn base(&self, chart: Plane) -> Result<Plane> {
        if self.lane.is_none() {
            return Ok(chart);
        }
        let plane = self.plane_named(chart.network.name(), chart.network);
        if self.lab.kubectl_json(&["get", "networkplane", plane.name]).is_err() {
            self.make_plane(plane, RELAXED)?;
        }
        self.wait_ready(plane.name)?;
        Ok(plane)
    }

    /// A test that was here before and did not end well may have left its planes in any state.
    pub(crate) fn begin_in(&self, lane: &Lane) -> Result<()> {
        let mark = self.mark_of(lane);
        if mark.exists() {
            self.remove_planes_of(lane, &BTreeSet::new())?;
        }
        fs::write(&mark, "").map_err(Error::io(format!("writing {}", mark.display())))
    }

    pub(crate) fn end_in(&self, lane: &Lane) -> Result<()> {
        let mark = self.mark_of(lane);
        fs::remove_file(&mark).map_err(Error::io(format!("removing {}", mark.display())))
    }

    /// Removes the lane's planes besides its base planes.
    pub(crate) fn clean_in(&self, lane: &Lane) -> Result<()> {
        let base = [PUBLIC, PRIVATE].map(|plane| lane.name(plane.network.name()));
        self.remove_planes_of(lane, &base.into())
    }

    fn remove_planes_of(&self, lane: &Lane, but: &BTreeSet<String>) -> Result<()> {
        let planes = self.lab.plane_names()?;
        for plane in planes.iter().filter(|plane| lane.has(plane) && !but.contains(*plane)) {
            self.lab.kubectl(&["delete", "networkplane", plane, "--ignore-not-found", "--timeout=90s"])?;
        }
        Ok(())
    }

    fn mark_of(&self, lane: &Lane) -> PathBuf {
        self.lab.dir().join(format!("lane-{}-in-use", lane.0))
    }
}
