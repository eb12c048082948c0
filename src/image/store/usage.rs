//! How much room images take, where they share layers.

use std::collections::HashMap;

use super::{Contents, LayerId, Store};

/// What one image takes, in bytes of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// In layers that other images have too.
    pub shared: u64,
    /// In layers that only this one has: what its removal gives back.
    pub own: u64,
    /// The layers that are not there.
    pub missing: Vec<LayerId>,
}

/// What each image takes, in their order, and what all of them take together.
pub fn usage(store: &Store, contents: &Contents) -> (Vec<Usage>, u64) {
    let mut sizes: HashMap<&LayerId, Option<u64>> = HashMap::new();
    let mut users: HashMap<&LayerId, usize> = HashMap::new();
    for id in contents.layers() {
        let record = store.layer_record(id).ok();
        sizes.insert(id, record.map(|record| record.bytes));
    }
    let distinct = |at: usize| {
        let mut layers: Vec<&LayerId> = contents.images[at].record.all_layers().collect();
        layers.sort();
        layers.dedup();
        layers
    };
    for at in 0..contents.images.len() {
        for id in distinct(at) {
            *users.entry(id).or_default() += 1;
        }
    }
    let usages = (0..contents.images.len()).map(|at| {
        let mut usage = Usage::default();
        for id in distinct(at) {
            match sizes.get(id).copied().flatten() {
                None => usage.missing.push(id.clone()),
                Some(bytes) if users.get(id) == Some(&1) => usage.own += bytes,
                Some(bytes) => usage.shared += bytes,
            }
        }
        usage
    });
    (usages.collect(), sizes.values().flatten().sum())
}
