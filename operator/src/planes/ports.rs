//! What of the nodes' own network is a plane's: no two planes have the same.

use std::collections::{BTreeMap, BTreeSet};

use foghorn_crds::{NetworkPlane, PlanePorts, ReturnPathMode};
use kube::ResourceExt;

use crate::error::Error;

/// What there is to give away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The first of the ports.
    pub(super) base: u16,
    /// How many planes can have a return path.
    pub(super) return_paths: u16,
}

/// What was given away, by the plane's UID. A plane's status says the same, but later.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<String, PlanePorts>);

impl Ports {
    /// What is `plane`'s, one of `planes`: the ports of its status, or the lowest free pair; and the number of its return
    /// path in the same way, if it wants one and there is one left.
    ///
    /// # Errors
    /// If no pair is free.
    pub(super) fn of<'a>(
        &mut self,
        plane: &NetworkPlane,
        planes: impl IntoIterator<Item = &'a NetworkPlane>,
        range: Range,
    ) -> Result<PlanePorts, Error> {
        let mut alive = BTreeSet::new();
        for plane in planes {
            let uid = plane.uid().unwrap_or_default();
            if let Some(ports) = plane.status.as_ref().and_then(|status| status.ports)
                && !self.taken(ports)
            {
                self.0.entry(uid.clone()).or_insert(ports);
            }
            alive.insert(uid);
        }
        self.0.retain(|uid, _| alive.contains(uid));
        let uid = plane.uid().unwrap_or_default();
        let known = self.0.get(&uid).copied();
        let pair = |metrics| PlanePorts { metrics, probes: metrics + 1, return_path: None };
        let mut pairs = (range.base..u16::MAX).step_by(2).map(pair);
        let ports = match known {
            Some(known) => known,
            None => pairs.find(|&ports| !self.taken(ports)).ok_or(Error::NoPorts { base: range.base })?,
        };
        let wants = plane.spec.return_path_mode() == ReturnPathMode::Auto;
        let return_path = ports.return_path.or_else(|| self.free_return_path(range)).filter(|_| wants);
        let ports = PlanePorts { return_path, ..ports };
        self.0.insert(uid, ports);
        Ok(ports)
    }

    fn taken(&self, ports: PlanePorts) -> bool {
        self.0.values().any(|taken| {
            let path = taken.return_path.is_some() && taken.return_path == ports.return_path;
            path || [taken.metrics, taken.probes]
                .iter()
                .any(|port| [ports.metrics, ports.probes].contains(port))
        })
    }

    fn free_return_path(&self, range: Range) -> Option<u16> {
        let taken: BTreeSet<_> = self.0.values().filter_map(|taken| taken.return_path).collect();
        (1..=range.return_paths).find(|number| !taken.contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::fixtures::plane;

    #[test]
    fn each_plane_gets_the_lowest_free_pair_and_keeps_it() {
        let mut ports = Ports::default();
        let (a, b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        assert_eq!(ports.of(&a, [&a, &b], RANGE).unwrap(), pair(17400));
        assert_eq!(ports.of(&b, [&a, &b], RANGE).unwrap(), pair(17402));
        assert_eq!(ports.of(&a, [&a, &b], RANGE).unwrap(), pair(17400));
    }

    #[test]
    fn ports_in_a_status_are_kept_by_the_next_operator_whatever_its_base() {
        let mut ports = Ports::default();
        let (a, mut b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        b.status.get_or_insert_default().ports = Some(pair(17400));
        assert_eq!(ports.of(&a, [&a, &b], RANGE).unwrap(), pair(17402));
        assert_eq!(ports.of(&b, [&a, &b], Range { base: 20000, ..RANGE }).unwrap(), pair(17400));
    }

    #[test]
    fn the_same_ports_in_two_statuses_are_given_to_one_plane_only() {
        let mut ports = Ports::default();
        let (mut a, mut b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        a.status.get_or_insert_default().ports = Some(pair(17400));
        b.status.get_or_insert_default().ports = Some(pair(17401));
        let of_a = ports.of(&a, [&a, &b], RANGE).unwrap();
        let of_b = ports.of(&b, [&a, &b], RANGE).unwrap();
        assert_eq!((of_a, of_b), (pair(17400), pair(17402)));
    }

    #[test]
    fn the_ports_of_a_plane_that_is_gone_are_free_again() {
        let mut ports = Ports::default();
        let (a, b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        ports.of(&a, [&a], RANGE).unwrap();
        assert_eq!(ports.of(&b, [&b], RANGE).unwrap(), pair(17400));
    }

    #[test]
    fn without_a_free_pair_the_error_says_what_to_do() {
        let a = plane("a", "x.dev/a");
        let error = Ports::default().of(&a, [&a], Range { base: u16::MAX, ..RANGE }).unwrap_err();
        assert!(error.to_string().contains("--port-base"), "{error}");
    }

    #[test]
    fn planes_with_a_return_path_get_the_lowest_free_number_while_there_are_any() {
        let mut ports = Ports::default();
        let mut planes = ["a", "b", "c", "d"].map(|name| plane(name, &format!("x.dev/{name}")));
        planes.iter_mut().skip(1).for_each(|plane| plane.spec.return_path.mode = ReturnPathMode::Auto);
        let mut number =
            |planes: &[NetworkPlane; 4], of: usize| ports.of(&planes[of], planes, RANGE).unwrap().return_path;
        assert_eq!([0, 1, 2, 3].map(|of| number(&planes, of)), [None, Some(1), Some(2), None]);
        planes[1].spec.return_path.mode = ReturnPathMode::Off;
        assert_eq!([1, 2, 3].map(|of| number(&planes, of)), [None, Some(2), Some(1)]);
    }

    const RANGE: Range = Range { base: 17400, return_paths: 2 };

    fn pair(metrics: u16) -> PlanePorts {
        PlanePorts { metrics, probes: metrics + 1, return_path: None }
    }
}
