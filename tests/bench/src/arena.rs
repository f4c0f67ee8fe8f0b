//! Nodes with Foghorn and one plane whose addresses are watched from outside.

use foghorn_lab::{
    Config, Lab, LabName, Result,
    foghorn::{install_chart, set_up},
    steps::{step, taking_down},
};
use foghorn_testbed::{Backend, Crowd};

/// A majority of them is left when one is lost.
pub(crate) const NODES: u8 = 3;
const PLANE: &str = "failover";

/// The lab of all benchmarks; whatever runs under this name is taken down.
pub(crate) fn lab_name() -> Result<LabName> {
    "bench".parse()
}

/// Makes it, does the work there, and takes it down whatever comes of it.
pub(crate) fn in_arena<T>(nodes: u8, work: impl FnOnce(&Crowd) -> Result<T>) -> Result<T> {
    let name = lab_name()?;
    Lab::down(&name)?;
    taking_down(&name, || {
        let lab = set_up(Config { name: name.clone(), nodes, ..Config::default() })?;
        let (plane, _backend): (Crowd, Backend) =
            step("the chart, a plane, and a host behind its Services", || {
                install_chart(&lab, &[])?;
                let plane = Crowd::make(&lab, PLANE)?;
                let backend = plane.serve()?;
                Ok((plane, backend))
            })?;
        work(&plane)
    })
}
