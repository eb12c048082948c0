//! Images good and bad, from a registry that serves whatever it is told to.
//!
//! Each file is one part of what can be wrong with a layer; each row is named in its message.

mod between;
mod blob;
mod confusion;
mod format;
mod limits;
mod paths;
mod sparse;
mod special;
mod umoci;
