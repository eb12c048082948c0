//! `run`: one command in a container of its own.

mod attach;
mod options;
pub(super) mod parse;

use postroj::progress::SharedProgress;
use postroj::run::RunError;
use postroj::task::Restart;

use super::task::create;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;

pub(in crate::cli::commands) use options::Options;

/// The command's name.
pub(crate) const NAME: &str = "run";

/// The exit code when postroj itself is in the way; docker-run(1), podman-run(1).
pub(crate) const OWN_FAILURE: i32 = 125;

/// The exit code when the command took longer than it was given; timeout(1).
const TIMED_OUT: i32 = 124;

const AFTER_HELP: &str = "\
The exit code is the command's: 128 and its number for a signal, 127 if there is no such command, \
126 if it cannot be executed, 125 if postroj is in the way, 124 after --timeout.

Examples:
  postroj run debian-bookworm cat /etc/os-release
  echo hello | postroj run -i docker://debian:12 cat
  postroj run -it -v \"$PWD\":/src -w /src debian-bookworm bash";

/// Run one command in a container of its own
///
/// Without --boot, no system is booted: the command runs alone, below an init that does nothing but look
/// after it, so any image will do. What the image says about running it holds where nothing else is said.
/// The container goes with the command, and with it all that it has written.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, disable_help_flag = true)]
pub(crate) struct Run {
    /// Do not wait for the command: print the id of a task, which `postroj task` looks after
    #[arg(long, short)]
    detach: bool,
    /// Remove the container when the command has ended, as is done in any case; with --detach, the task
    /// and its logs as well
    #[arg(long)]
    rm: bool,
    /// When the command of a task is started again: no, on-failure, on-failure:NUMBER or always
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "no",
        hide_default_value = true,
        requires = "detach"
    )]
    restart: Restart,
    #[command(flatten)]
    options: Options,
}

impl Run {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        if self.detach {
            let created = create::create(self.options, (self.restart, self.rm), settings, output);
            return created.await.map_err(own);
        }
        let options = self.options;
        let stop = attach::Stop {
            timeout: options.timeout,
            patience: options.stop_timeout,
        };
        let (interactive, tty) = (options.interactive, options.tty);
        let progress = output.progress();
        let getting = options.getting.images(settings, &progress);
        let planned = options.plan(settings);
        let (images, planned) = (getting.map_err(own)?, planned.map_err(own)?);
        require_root().map_err(own)?;
        postroj::image::check(images.catalogue(), &planned.image)
            .map_err(|error| own(error.into()))?;
        // What is shown of the pull has ended when the command's own output begins.
        drop::<SharedProgress>(progress);
        let attached = attach::run(&planned, &images, (interactive, tty), stop, output);
        attached.await.map_err(own)
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Image(error) => error.into(),
            RunError::Machine(error) => error.into(),
            RunError::NoCommand(_) => {
                Self::usage(error).with_hint(Some("name one: postroj run IMAGE COMMAND"))
            }
        }
    }
}

/// An error of postroj's own is told from whatever the command may exit with, and from its not being
/// one that can be executed.
fn own(error: CommandError) -> CommandError {
    match error.code() {
        126 | 127 => error,
        _ => error.with_code(OWN_FAILURE),
    }
}
