//! The entries, by what is good or bad about them.

mod broken_install;
mod broken_network;
mod broken_units;
mod good_packages;
mod good_services;
mod hostile;

use std::collections::BTreeSet;

use crate::entry::Entry;

/// All of them.
pub(crate) fn all() -> Vec<Entry> {
    let all: Vec<Entry> = [
        good_services::entries(),
        good_packages::entries(),
        broken_units::entries(),
        broken_network::entries(),
        broken_install::entries(),
        hostile::entries(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: BTreeSet<_> = all.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), all.len(), "two entries have the same name");
    all
}
