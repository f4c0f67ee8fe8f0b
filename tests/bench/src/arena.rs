//! Nodes with Foghorn and one plane whose addresses are watched from outside.

use foghorn_lab::{
    Config, Lab, Result,
    foghorn::{install_chart, set_up},
    steps::{step, taking_down},
};
use foghorn_testbed::{Backend, Plane};

/// A majority of them is left when one is lost.
pub(crate) const NODES: u8 = 3;
/// Whatever runs under this name is taken down.
const LAB: &str = "bench";
const PLANE: &str = "failover";

/// Makes it, does the work there, and takes it down whatever comes of it.
pub(crate) fn in_arena<T>(nodes: u8, work: impl FnOnce(&Plane) -> Result<T>) -> Result<T> {
    Lab::down(LAB)?;
    taking_down(LAB, || {
        let lab = set_up(Config { name: LAB.to_owned(), nodes, ..Config::default() })?;
        let (plane, _backend): (Plane, Backend) =
            step("the chart, a plane, and a host behind its Services", || {
                install_chart(&lab, &[])?;
                let plane = Plane::make(&lab, PLANE)?;
                let backend = plane.serve()?;
                Ok((plane, backend))
            })?;
        work(&plane)
    })
}
