//! Boot real Linux distributions with systemd inside systemd-nspawn, install a package there, and
//! tell whether its services run and answer.
//!
//! Data flows one way: the command line makes a plan, the plan gets an [`image`], boots a
//! [`machine`] from it, has a package manager [`install`] there, lets the [`probe`]s look, and a
//! [`report`] is what comes out. Whatever takes long tells its [`progress`].
//!
//! | module | holds |
//! |---|---|
//! | [`image`] | name → source → layers → store → an image that is ready to boot |
//! | [`machine`] | boot, talk to, and end one container |
//! | [`packages`] | what package managers have downloaded, kept for the next container |
//! | [`install`] | the package managers of the distributions |
//! | [`probe`] | what is checked, and how |
//! | [`pkgprobe`] | the main job, of all of these |
//! | [`matrix`] | that on many images, several at once |
//! | [`run`] | one command in a container of its own |
//! | [`task`] | one that outlives whoever has started it |
//! | [`chain`] | several in sequence, with one directory in common |
//! | [`report`] | the result of a run and how it is written |
//! | [`progress`] | the events of a long job, and who listens to them |
//! | [`duration`], [`size`] | times and sizes as they are typed |
//!
//! The library prints nothing and reads no configuration; the binary does both. A program that uses it is
//! started again for each container, so it asks [`helper`] first; it runs as root, on a runtime of
//! tokio with one thread.
//!
//! ```no_run
#![doc = include_str!("../examples/command.rs")]
//! ```

pub mod chain;
pub mod duration;
mod http;
pub mod image;
pub mod install;
mod invalid;
mod locked;
pub mod machine;
pub mod matrix;
pub mod packages;
pub mod pkgprobe;
pub mod probe;
pub mod progress;
pub mod report;
pub mod run;
pub mod size;
pub mod task;
mod timestamp;
mod yaml;

pub use chain::Chain;
pub use image::{Images, ReadyImage as Image};
pub use invalid::Invalid;
pub use machine::Machine;
pub use run::Run;
pub use task::Task;

/// Does what the library has started this program again for, and gives the exit code; `None` if somebody
/// else has started it. It is the supervisor of a container then, the init in one, or the keeper of a task.
///
/// A program that starts containers calls it first of all, while it has no threads.
pub fn helper() -> Option<i32> {
    let command = std::env::args_os().nth(1)?;
    machine::helper(&command).or_else(|| task::helper(&command))
}
