//! The order of views, and of grants.

use std::{fmt, str::FromStr};

/// Which view something belongs to: a later view has a greater epoch.
///
/// As text `<created>.<view>.<quorum>`, for example `1767225600.7.0`. The creation time comes first, so that a Lease
/// that was deleted and made again is above the first one. A view of the Lease beats every quorum view that was built
/// on an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// `metadata.creationTimestamp` of the Lease: seconds since 1970 on the API server's clock. A member that writes a view
    /// can have the Lease count as made later, but not earlier.
    pub created: i64,
    /// `spec.leaseTransitions` of the Lease: one more with each view that is written there.
    pub view: u32,
    /// Zero in the Lease; else which quorum view on its base.
    pub quorum: u32,
}

impl Epoch {
    /// The first one of a view in the Lease that is above this one. `spec.leaseTransitions` is a signed number of 32 bits.
    pub(crate) fn next_in_lease(self) -> Self {
        let next = Some(self.view.saturating_add(1)).filter(|view| i32::try_from(*view).is_ok());
        match next {
            Some(view) => Self { view, quorum: 0, ..self },
            None => Self { created: self.created.saturating_add(1), view: 1, quorum: 0 },
        }
    }

    /// One above this one for a Lease that has lost views. Others may know more of them than this member does, and still act
    /// in them: what follows has none of their numbers.
    pub(crate) fn next_made_later(self) -> Self {
        let created = self.created.saturating_add(1);
        Self { created, ..self.next_in_lease() }
    }

    /// The view of the Lease that a view was built on.
    pub(crate) fn base(self) -> Self {
        Self { quorum: 0, ..self }
    }
}

/// The right to hold one claim, as a coordinator gave it: the later has the greater number. As text
/// `<epoch>.<number>`, for example `1767225600.7.0.42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Grant {
    /// Of the view in which it was given.
    pub epoch: Epoch,
    /// Counted by the coordinator of that view.
    pub number: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.created, self.view, self.quorum)
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

/// A text that is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no grant; one has the form <seconds since 1970>.<view>.<quorum>.<number>, as 1767225600.7.0.42"
)]
pub struct GrantError(String);

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let parse = || {
            let mut parts = text.split('.');
            let epoch = Epoch {
                created: parts.next()?.parse().ok()?,
                view: parts.next()?.parse().ok()?,
                quorum: parts.next()?.parse().ok()?,
            };
            let number = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self { epoch, number })
        };
        parse().ok_or_else(|| GrantError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_survives_its_text() {
        let grant = Grant { epoch: Epoch { created: 1_767_225_600, view: 7, quorum: 1 }, number: 42 };
        assert_eq!(grant.to_string(), "1767225600.7.1.42");
        assert_eq!("1767225600.7.1.42".parse(), Ok(grant));
    }

    #[test]
    fn other_texts_are_refused_with_the_text_in_the_message() {
        for text in ["", "7", "1.2.3", "1.2.3.", "1.2.3.4.5", "1.-2.3.4", "1.2.4294967296.4"] {
            let error = text.parse::<Grant>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn a_view_of_the_lease_beats_every_quorum_view_on_an_older_one() {
        let epoch = |created, view, quorum| Epoch { created, view, quorum };
        assert!(epoch(1, 3, 0) > epoch(1, 2, 9));
        assert!(epoch(1, 2, 1) > epoch(1, 2, 0));
        assert!(epoch(2, 0, 0) > epoch(1, 900, 9), "the Lease was made again");
    }

    #[test]
    fn the_next_view_of_the_lease_is_above_every_other() {
        let last = i32::MAX.unsigned_abs();
        for view in [0, 7, last - 1, last, u32::MAX] {
            let epoch = Epoch { created: 9, view, quorum: 3 };
            for next in [epoch.next_in_lease(), epoch.next_made_later()] {
                assert!(next > epoch && next.view <= last && next.quorum == 0, "{next}");
            }
            assert!(epoch.next_made_later() > Epoch { view: u32::MAX, quorum: u32::MAX, ..epoch });
        }
    }
}
