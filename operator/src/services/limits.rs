//! Whether a plane has an address left for one more Service.

use std::collections::BTreeMap;

use foghorn_crds::{Limits, NetworkPlane};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{
    memory::Key,
    reasons::{self, Unserved},
};

/// A Service that has no claim and may have one. The order is the one in which free addresses are given: the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Waiting {
    pub(crate) since: Option<Timestamp>,
    pub(crate) service: Key,
}

/// How many addresses of a plane are in use or promised.
pub(crate) struct Taken<OfNamespace> {
    pub(crate) all: usize,
    /// How many of them by Services of a namespace.
    pub(crate) of_namespace: OfNamespace,
}

/// Whether there is an address left for `service`. Those of the `older` ones come first that `count`; they are in the order of
/// [`Waiting`]. They are looked for only where there is an address left without them, and whether one counts is asked as
/// seldom as possible.
pub(crate) fn is_within_limits(
    plane: &NetworkPlane,
    taken: &Taken<impl Fn(&str) -> usize>,
    older: impl FnOnce() -> Vec<Waiting>,
    counts: impl Fn(&Waiting) -> bool,
    service: &Key,
) -> Result<(), Unserved> {
    let (limits, namespace) = (&plane.spec.limits, service.0.as_str());
    let room = |more: usize, of_namespace: usize| match taken.shortage(limits, more, namespace, of_namespace)
    {
        None => Ok(()),
        Some(shortage) => Err(Unserved::new(
            reasons::LIMIT_REACHED,
            format!("{shortage} on plane {}; served when an address is released", plane.name_any()),
        )),
    };
    room(0, 0)?;
    let older = older();
    let of_mine = older.iter().filter(|other| other.service.0 == namespace).count();
    if room(older.len(), of_mine).is_ok() {
        return Ok(());
    }
    // What goes to older Services.
    let (mut more, mut by_namespace) = (0, BTreeMap::<&str, usize>::new());
    for other in &older {
        let others = other.service.0.as_str();
        let of_namespace = by_namespace.entry(others).or_default();
        if taken.shortage(limits, more, others, *of_namespace).is_none() && counts(other) {
            more += 1;
            *of_namespace += 1;
            room(more, by_namespace.get(namespace).copied().unwrap_or_default())?;
        }
    }
    Ok(())
}

impl<OfNamespace: Fn(&str) -> usize> Taken<OfNamespace> {
    /// What is short for one of the namespace if so many more are taken, so many of them by that namespace.
    fn shortage(&self, limits: &Limits, more: usize, namespace: &str, of_namespace: usize) -> Option<String> {
        let is_used_up = |limit: u32, used: usize| usize::try_from(limit).is_ok_and(|limit| used >= limit);
        if let Some(limit) = limits.addresses.filter(|limit| is_used_up(*limit, self.all + more)) {
            return Some(format!("all {limit} addresses that limits.addresses allows are in use"));
        }
        let limit = limits.addresses_per_namespace?;
        is_used_up(limit, (self.of_namespace)(namespace) + of_namespace).then(|| {
            format!(
                "all {limit} addresses that limits.addressesPerNamespace allows the namespace {namespace} are in use"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet};

    use super::{super::fixtures::*, *};

    #[test]
    fn without_limits_there_is_always_room() {
        assert_eq!(room(limits(None, None), &["a"; 1000], &[], "a/1"), Ok(()));
    }

    #[test]
    fn the_limit_of_the_plane_counts_all_claims() {
        assert_eq!(room(limits(Some(3), None), &["a", "b"], &[], "a/1"), Ok(()));
        let full = room(limits(Some(2), None), &["a", "b"], &[], "a/1").unwrap_err();
        assert_eq!(full.reason, reasons::LIMIT_REACHED);
        assert!(full.message.contains("limits.addresses "), "{}", full.message);
    }

    #[test]
    fn the_limit_of_a_namespace_counts_its_own_claims() {
        assert_eq!(room(limits(None, Some(1)), &["b", "b"], &[], "a/1"), Ok(()));
        let full = room(limits(None, Some(2)), &["b", "b"], &[], "b/1").unwrap_err();
        assert!(full.message.contains("limits.addressesPerNamespace"), "{}", full.message);
    }

    #[test]
    fn the_longest_waiting_gets_the_free_address() {
        let waiting = ["a/2", "a/1", "b/3"];
        assert_eq!(room(limits(Some(2), None), &["a"], &waiting, "a/1"), Ok(()));
        assert!(room(limits(Some(2), None), &["a"], &waiting, "a/2").is_err());
        assert_eq!(room(limits(Some(3), None), &["a"], &waiting, "a/2"), Ok(()));
        assert!(room(limits(Some(3), None), &["a"], &waiting, "b/3").is_err());
    }

    #[test]
    fn of_services_of_one_second_the_first_name_gets_the_address() {
        let waiting = ["a/1 api", "a/1 web", "b/1 api"];
        assert_eq!(room(limits(Some(1), None), &[], &waiting, "a/1 api"), Ok(()));
        assert!(room(limits(Some(2), None), &[], &waiting, "b/1 api").is_err());
        assert_eq!(room(limits(Some(2), None), &[], &waiting, "a/1 web"), Ok(()));
    }

    #[test]
    fn one_that_its_namespace_keeps_waiting_holds_no_other_up() {
        let waiting = ["a/1", "a/2", "b/3"];
        assert_eq!(room(limits(Some(2), Some(1)), &["a"], &waiting, "b/3"), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_gives_no_address() {
        assert!(room(limits(Some(0), None), &[], &[], "a/1").is_err());
        assert!(room(limits(None, Some(0)), &[], &[], "a/1").is_err());
    }

    #[test]
    fn whether_an_older_service_counts_is_asked_only_where_it_matters() {
        let mut plane = plane("a").build();
        let older: Vec<_> = (0..1_000)
            .map(|n| Waiting { since: Timestamp::from_second(n).ok(), service: ("b".into(), n.to_string()) })
            .collect();
        let me = ("a".to_owned(), "me".to_owned());
        let asked = |plane: &NetworkPlane, taken: usize| {
            let count = Cell::new(0);
            let counts = |_: &Waiting| {
                count.set(count.get() + 1);
                true
            };
            let taken = Taken { all: taken, of_namespace: |_: &str| 0 };
            let room = is_within_limits(plane, &taken, || older.clone(), counts, &me);
            (room.is_ok(), count.get())
        };
        plane.spec.limits = limits(Some(5_000), None);
        assert_eq!(asked(&plane, 3_000), (true, 0), "there is room for all");
        assert_eq!(asked(&plane, 5_000), (false, 0), "all are in use");
        assert_eq!(asked(&plane, 4_990), (false, 10), "the first ten of them take the rest");
        plane.spec.limits = limits(None, Some(1));
        assert_eq!(asked(&plane, 5_000), (true, 0), "others' namespaces do not matter");
    }

    /// `waiting` and `me` are written as `namespace/second of creation`, with a name after it where two have one second.
    fn room(limits: Limits, held: &[&str], waiting: &[&str], me: &str) -> Result<(), Unserved> {
        let mut plane = plane("a").build();
        plane.spec.limits = limits;
        let one = |text: &str| {
            let (namespace, rest) = text.split_once('/').unwrap();
            let (second, name) = rest.split_once(' ').unwrap_or((rest, rest));
            let since = Timestamp::from_second(second.parse().unwrap()).ok();
            Waiting { since, service: (namespace.into(), name.into()) }
        };
        let service = one(me).service;
        let waiting: BTreeSet<_> = waiting.iter().copied().chain([me]).map(one).collect();
        let older: Vec<_> = waiting.into_iter().take_while(|other| other.service != service).collect();
        let taken = Taken {
            all: held.len(),
            of_namespace: |name: &str| held.iter().filter(|held| **held == name).count(),
        };
        is_within_limits(&plane, &taken, || older, |_| true, &service)
    }

    fn limits(addresses: Option<u32>, addresses_per_namespace: Option<u32>) -> Limits {
        Limits { addresses, addresses_per_namespace }
    }
}
