//! The phases of a package's life that a run goes through.

use serde::Serialize;

/// What happens to the packages, after which the checks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// They are installed; where there are none, the container has been booted.
    Install,
}

impl Phase {
    /// Its name, as a command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
