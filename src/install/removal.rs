//! Removing packages again.

use std::time::Duration;

use super::inventory::PATIENCE;
use super::{Fault, InstallError, Installed, Item, PackageManager, detect};
use crate::machine::{Guest, GuestError};

/// What becomes of packages that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They are removed; what the administrator may have changed stays, where the package manager
    /// tells that apart.
    Remove,
    /// They are removed with all that is theirs.
    Purge,
    /// All that is theirs goes, after they have been removed.
    PurgeRemoved,
}

impl std::fmt::Display for Removal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Remove => "remove",
            Self::Purge | Self::PurgeRemoved => "purge",
        })
    }
}

/// The names of packages that were, or are to be, installed.
pub(super) async fn names(
    guest: &Guest,
    manager: &dyn PackageManager,
    items: &[Item],
) -> Result<Vec<String>, InstallError> {
    let mut names = Vec::new();
    for item in items {
        let Item::File(path) = item else {
            names.extend(item.name().map(|name| manager.bare_name(name).to_owned()));
            continue;
        };
        let output = guest.run(&manager.name_of(path), PATIENCE).await?;
        // What else it writes is a warning.
        let name = output.text.lines().rfind(|line| !line.trim().is_empty());
        match name {
            Some(name) if output.status.success() => names.push(name.trim().to_owned()),
            _ => {
                return Err(InstallError::Name {
                    manager: manager.name(),
                    status: format!("it ended with {}", output.status),
                    output: output.text,
                });
            }
        }
    }
    Ok(names)
}

/// Removes packages that were installed as `items`, in at most `limit`.
pub async fn remove(
    guest: &Guest,
    items: &[Item],
    removal: Removal,
    limit: Duration,
) -> Result<Installed, InstallError> {
    let manager = detect(guest).ok_or(InstallError::NoManager)?;
    let names = names(guest, manager.as_ref(), items).await?;
    let done = |output: String| Installed {
        manager: manager.name(),
        output,
        items: items.to_vec(),
        has_begun: true,
    };
    let Some(command) = manager.remove(&names, removal) else {
        return Ok(done(String::new()));
    };
    let (status, output) = match guest.run(&command, limit).await {
        Ok(ended) if manager.is_success(ended.status) => return Ok(done(ended.text)),
        Ok(ended) => (format!("it ended with {}", ended.status), ended.text),
        Err(GuestError::Timeout { output, .. }) => (
            format!("it did not end within {} s", limit.as_secs_f64()),
            output.text,
        ),
        Err(error) => return Err(error.into()),
    };
    let manager = manager.name();
    Err(match guest.space() {
        Ok(space) if space.is_full() => InstallError::NoSpace {
            space,
            status: format!("{manager}, {status}"),
            output,
            fault: Fault::Package,
        },
        _ => InstallError::Removal {
            manager,
            removal,
            status,
            output,
        },
    })
}
