//! What is done with the images that the store has.

mod inspect;
mod list;
mod remove;

pub(in crate::cli) use inspect::Inspect;
pub(in crate::cli) use list::Images;
pub(in crate::cli) use remove::{Gc, Rmi};
