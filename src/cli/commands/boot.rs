//! How much of an image's system is started.

use postroj::machine::Profile;

/// How much of the image's system is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum BootProfile {
    /// Without logins on consoles, update timers and the like
    Trimmed,
    /// All of it
    Full,
}

impl From<BootProfile> for Profile {
    fn from(profile: BootProfile) -> Self {
        match profile {
            BootProfile::Trimmed => Self::Trimmed,
            BootProfile::Full => Self::Full,
        }
    }
}
