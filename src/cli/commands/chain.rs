//! `chain`: stages in sequence, with one directory in common.

use std::path::{Path, PathBuf};

use postroj::chain::{
    Chain as Planned, ChainFileError, ChainResult, LogLine, Options, Stage, StageResult, Status,
    Watcher,
};
use postroj::machine::Users;
use postroj::report::printable;
use postroj::run::Stream;

use super::getting::{Getting, Pulling};
use super::isolation::PrivateUsers;
use super::run::parse;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// How many of the last lines of a failed stage are shown again.
const LAST_LINES: usize = 20;

/// Run commands in containers, one after the other
#[derive(Debug, clap::Args)]
pub(crate) struct Chain {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(Box<Run>),
}

const AFTER_HELP: &str = "\
The exit code is 0 if all stages succeeded, 1 if one failed, 2 if the file is wrong, 3 if it could not be \
told.

Examples:
  postroj chain run build.yaml
  postroj chain run build.yaml --env VERSION=1.2 --json > result.json

`postroj schema chain` prints the form of the file.";

/// Run the stages of a file, one after the other, until one fails
///
/// Each is a command in a container of its own. All of them see one directory as /job, which is empty
/// at first and gone at the end. All images are there before the first stage begins.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Run {
    /// The file, in YAML, JSON (.json) or TOML (.toml)
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Set a variable in the environment of every stage, over what the file says; without a value, to
    /// the one that it has here
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = parse::variable)]
    env: Vec<String>,
    /// Make the directory that the stages have in common in DIR [default: that for temporary files]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    workdir: Option<PathBuf>,
    /// Leave that directory where it is
    #[arg(long)]
    keep_job: bool,
    /// Whether the containers' users are others than the host's of the same numbers [default: yes,
    /// where the host can do it]
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    private_users: Option<PrivateUsers>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pulling: Pulling,
    #[command(flatten)]
    getting: Getting,
}

impl Chain {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        match self.command {
            Command::Run(command) => command.run(settings, output).await,
        }
    }
}

impl Run {
    async fn run(self, settings: &Settings, output: &Output) -> Result<Exit, CommandError> {
        let progress = output.progress();
        let images = self.getting.images(settings, &progress)?;
        let chain = match Planned::load(&self.file, images.catalogue()) {
            Ok(chain) => chain,
            Err(error) => return Err(wrong(&error, output)),
        };
        require_root()?;
        let options = Options {
            env: self.env.into_iter().filter(|set| !set.is_empty()).collect(),
            workdir: self.workdir,
            keep_job: self.keep_job,
            users: self.private_users.map_or(Users::WherePossible, Into::into),
            pull: self.getting.pull_options(self.pulling.policy(), settings)?,
        };
        let mut signals = Signals::listen()?;
        let watcher = Telling {
            output,
            count: chain.stages.len(),
        };
        let mut signal = None;
        let stop = async { signal = Some(signals.next().await) };
        let result = chain.run_until(&images, &options, &watcher, stop);
        let result = result.await;
        drop(progress);
        if self.json {
            output.json(&result)?;
        } else {
            output.result(&text(&self.file, &chain, &result, output));
        }
        if let Some(job) = &result.job {
            output.note(&format!("what the stages had as /job is in {job}"));
        }
        if let Some(number) = signal {
            return Ok(Exit::Signal(number));
        }
        Ok(if result.is_without_verdict() {
            Exit::NoVerdict
        } else if result.success {
            Exit::Success
        } else {
            Exit::Failed
        })
    }
}

/// An error for each mistake: the last is that of the command.
fn wrong(error: &ChainFileError, output: &Output) -> CommandError {
    let told = error.to_string();
    let ChainFileError::Invalid { .. } = error else {
        return CommandError::usage(told);
    };
    let (others, last) = told.rsplit_once('\n').unwrap_or(("", &told));
    for line in others.lines() {
        output.complain(line);
    }
    CommandError::usage(last).with_hint(Some("`postroj schema chain` prints the form of the file"))
}

/// Tells what the stages do and write, on standard error.
struct Telling<'a> {
    output: &'a Output,
    count: usize,
}

impl Watcher for Telling<'_> {
    fn began(&self, number: usize, stage: &Stage) {
        let (number, count) = (number + 1, self.count);
        let command = stage.command.join(" ");
        let image = &stage.image;
        self.output
            .note(&format!("stage {number} of {count}: {image} {command}"));
    }

    fn wrote(&self, number: usize, _: Stream, line: &LogLine) {
        let number = number + 1;
        self.output
            .line(&format!("{number} | {}", printable(&line.text)));
    }

    fn noted(&self, _: usize, note: &str) {
        self.output.note(note);
    }
}

/// The result for people.
fn text(file: &Path, chain: &Planned, result: &ChainResult, output: &Output) -> String {
    let palette = output.palette();
    let (good, bad, reset) = (palette.good, palette.bad, palette.reset);
    let verdict = if result.is_without_verdict() {
        format!("{bad}no verdict{reset}")
    } else if result.success {
        format!("{good}passed{reset}")
    } else {
        format!("{bad}FAILED{reset}")
    };
    let mut lines = vec![format!("{}: {verdict}", file.display())];
    for (number, (stage, ended)) in chain.stages.iter().zip(&result.stages).enumerate() {
        let (colour, word) = match ended.state.status {
            Status::Skipped => ("", "skipped"),
            _ if ended.error.is_some() => (bad, "ERROR  "),
            _ if ended.success => (good, "ok     "),
            _ => (bad, "FAILED "),
        };
        let command = stage.command.join(" ");
        let line = format!(
            "  {colour}{word}{reset} {}  {}  {}  {}",
            number + 1,
            ended.image,
            printable(&command),
            printable(&outcome(ended))
        );
        lines.push(line.trim_end().to_owned());
    }
    let failed = result.stages.iter().enumerate();
    for (number, ended) in failed.filter(|(_, ended)| !ended.success) {
        let Some(logs) = &ended.logs else { continue };
        let streams = [("output", &logs.stdout), ("error", &logs.stderr)];
        for (name, written) in streams.iter().filter(|(_, written)| !written.is_empty()) {
            lines.push(format!("\n  stage {}, standard {name}:", number + 1));
            let last = written.len().saturating_sub(LAST_LINES);
            let shown = written[last..].iter();
            lines.extend(shown.map(|line| format!("    {}", printable(&line.text))));
        }
    }
    lines.join("\n") + "\n"
}

/// How a stage ended, in words.
fn outcome(ended: &StageResult) -> String {
    if let Some(error) = &ended.error {
        return error.hinted();
    }
    let state = &ended.state;
    if state.status == Status::Skipped {
        return String::new();
    }
    let how = if ended.killed {
        "killed: its time was over".to_owned()
    } else if let Some(reason) = &state.reason {
        reason.clone()
    } else if let Some(signal) = state.signal {
        format!("killed by signal {signal}")
    } else {
        format!("exit code {}", state.exit_code.unwrap_or_default())
    };
    let took = state.started.zip(state.finished);
    let took = took.and_then(|(started, finished)| finished.duration_since(started).ok());
    let took = took.map_or_else(String::new, |took| format!(", {:.1} s", took.as_secs_f64()));
    let memory = if state.oom_killed {
        ", out of memory"
    } else {
        ""
    };
    format!("{how}{took}{memory}")
}
