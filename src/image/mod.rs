//! Images: from the name that a user types to a root file system that is ready to boot.

pub mod catalogue;
