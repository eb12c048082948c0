//! The entries, by what is good or bad about them.

mod broken_install;
mod broken_network;
mod broken_units;
mod checks;
mod good_packages;
mod good_services;
mod hostile;
mod lifecycle;
mod limits;

use std::collections::BTreeSet;

use crate::entry::Entry;

/// All of them.
pub(crate) fn all() -> Vec<Entry> {
    let groups = [
        ("Good services", good_services::entries()),
        ("Good packages", good_packages::entries()),
        ("Broken units", broken_units::entries()),
        ("Broken servers", broken_network::entries()),
        ("Broken installations", broken_install::entries()),
        ("Against the system", hostile::entries()),
        ("Checks of all kinds", checks::entries()),
        ("Life cycle", lifecycle::entries()),
        ("Limits", limits::entries()),
    ];
    let all: Vec<Entry> = groups
        .into_iter()
        .flat_map(|(group, entries)| {
            let named = move |entry| Entry { group, ..entry };
            entries.into_iter().map(named)
        })
        .collect();
    let names: BTreeSet<_> = all.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), all.len(), "two entries have the same name");
    all
}
