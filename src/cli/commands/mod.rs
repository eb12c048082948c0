//! One file for each group of commands; the comments on the arguments are the help.

mod boot;
pub(super) mod chain;
pub(super) mod checking;
pub(super) mod choosing;
pub(super) mod generate;
pub(super) mod getting;
pub(super) mod images;
mod isolation;
pub(super) mod lifecycle;
pub(super) mod login;
pub(super) mod machines;
pub(super) mod pkgprobe;
pub(super) mod reporting;
pub(super) mod run;
pub(super) mod running;
pub(super) mod selftest;
pub(super) mod store;
pub(super) mod task;
