//! The name of a lab.

use std::{
    env::{self, VarError},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name of a lab: 1 to 20 lower case letters, digits and hyphens, the first no hyphen. It is part of paths, and of the names
/// of cgroups and network namespaces, all of which [`Lab::down`](crate::Lab::down) removes as root: no other text can become a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

impl LabName {
    /// The environment variable that names the lab to work with.
    pub const VARIABLE: &str = "FOGHORN_LAB";
    /// The name of a lab that is not given another one.
    pub const DEFAULT: &str = "foghorn";

    /// The lab that the environment names, or the default one.
    ///
    /// # Errors
    /// [`Error::LabName`].
    pub fn from_environment() -> Result<Self> {
        match env::var(Self::VARIABLE) {
            Ok(name) => name.parse(),
            Err(VarError::NotPresent) => Ok(Self::default()),
            Err(VarError::NotUnicode(name)) => Err(Error::LabName(name.to_string_lossy().into_owned())),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LabName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for LabName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=20).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-');
        if is_name { Ok(Self(name.to_owned())) } else { Err(Error::LabName(name.to_owned())) }
    }
}

impl TryFrom<String> for LabName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_no_lab_name() {
        for path in ["", ".", "..", "/", "/srv/lab", "a/b", "../a", "a/..", "a.b", "a\0b"] {
            assert!(matches!(path.parse::<LabName>(), Err(Error::LabName(text)) if text == path), "{path:?}");
        }
    }

    #[test]
    fn a_lab_name_has_1_to_20_letters_digits_and_hyphens() {
        for name in [LabName::DEFAULT, "a", "1", "fi-4194304-1234", "a2345678901234567890"] {
            assert_eq!(name.parse::<LabName>().unwrap().as_str(), name);
        }
        for text in ["a23456789012345678901", "-a", "A", "ä", "a b", "a_b", "a\n"] {
            assert!(text.parse::<LabName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_lab_name_is_not_read_from_json_either() {
        assert_eq!(serde_json::from_str::<LabName>(r#""test""#).unwrap().as_str(), "test");
        let error = serde_json::from_str::<LabName>(r#""../etc""#).unwrap_err().to_string();
        assert!(error.contains("`../etc`"), "{error}");
    }
}
