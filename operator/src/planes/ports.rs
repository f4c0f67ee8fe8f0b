//! Ports of the announcers on the nodes' own network: no two planes have the same.

use std::collections::{BTreeMap, BTreeSet};

use foghorn_crds::{NetworkPlane, PlanePorts};
use kube::ResourceExt;

use crate::error::Error;

/// The ports that were given away, by the plane's UID. A plane's status says the same, but later.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<String, PlanePorts>);

impl Ports {
    /// The ports of `plane`, one of `planes`: those of its status, or the lowest free pair from `base` upwards.
    ///
    /// # Errors
    /// If no pair is free.
    pub(super) fn of<'a>(
        &mut self,
        plane: &NetworkPlane,
        planes: impl IntoIterator<Item = &'a NetworkPlane>,
        base: u16,
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
        if let Some(ports) = self.0.get(&uid) {
            return Ok(*ports);
        }
        let pairs = (base..u16::MAX).step_by(2).map(|metrics| PlanePorts { metrics, probes: metrics + 1 });
        let free = pairs.into_iter().find(|&ports| !self.taken(ports)).ok_or(Error::NoPorts { base })?;
        self.0.insert(uid, free);
        Ok(free)
    }

    fn taken(&self, ports: PlanePorts) -> bool {
        self.0.values().any(|taken| {
            [taken.metrics, taken.probes].iter().any(|port| [ports.metrics, ports.probes].contains(port))
        })
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
        assert_eq!(ports.of(&a, [&a, &b], 17400).unwrap(), pair(17400));
        assert_eq!(ports.of(&b, [&a, &b], 17400).unwrap(), pair(17402));
        assert_eq!(ports.of(&a, [&a, &b], 17400).unwrap(), pair(17400));
    }

    #[test]
    fn ports_in_a_status_are_kept_by_the_next_operator_whatever_its_base() {
        let mut ports = Ports::default();
        let (a, mut b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        b.status.get_or_insert_default().ports = Some(pair(17400));
        assert_eq!(ports.of(&a, [&a, &b], 17400).unwrap(), pair(17402));
        assert_eq!(ports.of(&b, [&a, &b], 20000).unwrap(), pair(17400));
    }

    #[test]
    fn the_same_ports_in_two_statuses_are_given_to_one_plane_only() {
        let mut ports = Ports::default();
        let (mut a, mut b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        a.status.get_or_insert_default().ports = Some(pair(17400));
        b.status.get_or_insert_default().ports = Some(pair(17401));
        let of_a = ports.of(&a, [&a, &b], 17400).unwrap();
        let of_b = ports.of(&b, [&a, &b], 17400).unwrap();
        assert_eq!((of_a, of_b), (pair(17400), pair(17402)));
    }

    #[test]
    fn the_ports_of_a_plane_that_is_gone_are_free_again() {
        let mut ports = Ports::default();
        let (a, b) = (plane("a", "x.dev/a"), plane("b", "x.dev/b"));
        ports.of(&a, [&a], 17400).unwrap();
        assert_eq!(ports.of(&b, [&b], 17400).unwrap(), pair(17400));
    }

    #[test]
    fn without_a_free_pair_the_error_says_what_to_do() {
        let a = plane("a", "x.dev/a");
        let error = Ports::default().of(&a, [&a], u16::MAX).unwrap_err();
        assert!(error.to_string().contains("--port-base"), "{error}");
    }

    fn pair(metrics: u16) -> PlanePorts {
        PlanePorts { metrics, probes: metrics + 1 }
    }
}
