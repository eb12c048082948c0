//! What is done with the images that the store has.

mod check;
mod inspect;
mod list;
mod remove;
mod transfer;

pub(in crate::cli) use check::Check;
pub(in crate::cli) use inspect::Inspect;
pub(in crate::cli) use list::Images;
pub(in crate::cli) use remove::{Gc, Rmi};
pub(in crate::cli) use transfer::{Export, Import};
