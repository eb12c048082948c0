//! `task create`, and `run --detach`.

use postroj::task::{NewTask, Restart, Tasks};

use crate::cli::commands::run::Options;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

const AFTER_HELP: &str = "\
The exit code is 0 if the command has started, 127 if there is no such command, 126 if it cannot be \
executed, 2 if the command line is wrong, 3 if something else was in the way.

Examples:
  postroj task create --name web -p 8080:80 docker://nginx
  postroj task create --restart on-failure debian-bookworm sh -c 'sleep 3; exit 1'
  postroj task create https://example.org/rootfs.tar.gz /bin/sh -c 'while date; do sleep 1; done'";

/// Start a command in a container of its own, and print the id of the task
///
/// The command goes on when postroj has ended; what it writes is kept for `postroj task logs`. What there
/// is of a task, whether it runs or has ended, stays until `postroj task rm` removes it. Each start of the
/// command gets the image's root anew: what is to be kept is written to a --volume.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, disable_help_flag = true)]
pub(super) struct Create {
    /// When the command is started again: no, on-failure, on-failure:NUMBER or always
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "no",
        hide_default_value = true
    )]
    restart: Restart,
    /// Remove the task when it has ended, with what it has written
    #[arg(long)]
    rm: bool,
    #[command(flatten)]
    options: Options,
}

impl Create {
    pub(super) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        create(self.options, (self.restart, self.rm), settings, output).await
    }
}

/// Starts a task, prints its id, and lets it be.
pub(in crate::cli::commands) async fn create(
    options: Options,
    (restart, removed_at_end): (Restart, bool),
    settings: &Settings,
    output: &Output,
) -> Result<Exit, CommandError> {
    let mut signals = Signals::listen()?;
    let progress = output.progress();
    let images = options.getting.images(settings, &progress)?;
    let (interactive, timeout, patience) =
        (options.interactive, options.timeout, options.stop_timeout);
    let new = NewTask {
        run: options.plan(settings)?,
        interactive,
        restart,
        timeout,
        patience,
        removed_at_end,
    };
    require_root()?;
    postroj::image::check(images.catalogue(), &new.run.image)?;
    drop(progress);
    let tasks = Tasks::of(&images);
    let created = tokio::select! {
        created = tasks.create(&new, &images) => created?,
        number = signals.next() => return Ok(Exit::Signal(number)),
    };
    for note in &created.notes {
        output.note(note);
    }
    output.result(&format!("{}\n", created.task.id()));
    Ok(Exit::Success)
}
