//! Stub, about to be written.
pub mod build;
