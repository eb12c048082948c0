//! What can be checked.

use super::{NetworkTarget, UnitName};

/// A check that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A unit is up and stays up.
    Unit(UnitName),
    /// An address answers.
    Network(NetworkTarget),
}

impl Check {
    /// Its kind, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unit(_) => "unit",
            Self::Network(_) => "network",
        }
    }

    /// What it looks at.
    pub fn target(&self) -> String {
        match self {
            Self::Unit(unit) => unit.to_string(),
            Self::Network(address) => address.to_string(),
        }
    }

    /// The unit whose state before the installation it has to know.
    pub fn unit(&self) -> Option<&UnitName> {
        match self {
            Self::Unit(unit) => Some(unit),
            Self::Network(_) => None,
        }
    }
}
