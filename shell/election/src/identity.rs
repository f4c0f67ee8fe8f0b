//! The names of those who take part.

use std::{fmt, str::FromStr};

/// Who takes part: a node, or a pod, in one life of its process. As text `<name>_<16 hexadecimal digits>`.
///
/// The same node with another incarnation is another member: a process cannot know that the one before it is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    name: String,
    incarnation: u64,
}

impl Identity {
    /// The member `name` (a Kubernetes node or pod name) in the process life `incarnation`, 64 random bits drawn at its
    /// start.
    #[must_use]
    pub fn new(name: impl Into<String>, incarnation: u64) -> Self {
        Self { name: name.into(), incarnation }
    }

    /// The node or pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:016x}", self.name, self.incarnation)
    }
}

/// A holder that none of ours wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no member's identity; one has the form <node>_<16 hexadecimal digits>")]
pub struct IdentityError(String);

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let parse = || {
            let (name, digits) = text.rsplit_once('_')?;
            let plain = digits.len() == 16
                && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            let incarnation = u64::from_str_radix(digits, 16).ok()?;
            (plain && !name.is_empty()).then(|| Self::new(name, incarnation))
        };
        parse().ok_or_else(|| IdentityError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text() {
        let identity = Identity::new("node-1.example", 0xab);
        assert_eq!(identity.to_string(), "node-1.example_00000000000000ab");
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn foreign_holders_are_refused() {
        for text in
            ["", "node-1", "node-1_ab", "_00000000000000ab", "n_00000000000000AB", "n_+0000000000000ab"]
        {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
