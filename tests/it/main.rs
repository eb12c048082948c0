//! postroj on real distributions, with a real systemd and real packages.
//!
//! These tests need root, and what `make packages` installs. One that lacks something fails and
//! says what; none is skipped. What is dear to make is kept: see [`support::cache`].

mod alone;
mod artifacts;
mod bootstraps;
mod chain;
mod checks;
mod cli;
mod crash;
mod crash_disk;
mod distributions;
mod evidence;
mod full_host;
mod goss;
mod help;
mod layers;
mod lifecycle;
mod limits;
mod machines;
mod managers;
mod matrix;
mod network;
mod packages;
mod provisioning;
mod pulling;
mod readme;
mod registry;
mod reports;
mod run;
mod schemas;
mod self_check;
mod signals;
mod silence;
mod snapshots;
mod store;
mod store_check;
mod store_import;
mod store_transfer;
mod support;
mod task;
mod users;
mod verdicts;
