//! The order of tenures.

use std::{fmt, str::FromStr};

/// Which tenure of a Lease something belongs to: a later tenure has a greater epoch.
///
/// As text `<created>.<transitions>`, for example `1767225600.7`. The creation time comes first, so that the epochs of
/// a Lease that was deleted and made again are above those of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch {
    /// `metadata.creationTimestamp` of the Lease: seconds since 1970 on the API server's clock.
    pub created: i64,
    /// `spec.leaseTransitions` of the Lease.
    pub transitions: u32,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created, self.transitions)
    }
}

/// A text that is no epoch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no epoch; one has the form <seconds since 1970>.<transitions>, as 1767225600.7")]
pub struct EpochError(String);

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let parse = || {
            let (created, transitions) = text.split_once('.')?;
            Some(Self { created: created.parse().ok()?, transitions: transitions.parse().ok()? })
        };
        parse().ok_or_else(|| EpochError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_survives_its_text() {
        let epoch = Epoch { created: 1_767_225_600, transitions: 7 };
        assert_eq!(epoch.to_string(), "1767225600.7");
        assert_eq!("1767225600.7".parse(), Ok(epoch));
    }

    #[test]
    fn a_lease_made_again_is_above_all_epochs_of_the_deleted_one() {
        let old = Epoch { created: 10, transitions: 900 };
        let new = Epoch { created: 11, transitions: 1 };
        assert!(old < new);
        assert!(new < Epoch { created: 11, transitions: 2 });
    }

    #[test]
    fn other_texts_are_refused_with_the_text_in_the_message() {
        for text in ["", "7", "a.7", "7.", "7.-1", "1.2.3", "1.4294967296"] {
            let error = text.parse::<Epoch>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
    }
}
