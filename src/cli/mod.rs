//! The command line: what was typed, what was meant, and how errors are told.

mod access;
mod commands;
mod config;
mod copy;
mod doctor;
mod document;
mod error;
mod output;
mod runfile;
mod signals;
mod table;
mod terminal;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args as _, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use commands::{chain, generate, images, login, machines, pkgprobe, run, selftest, store, task};
use config::Settings;
use error::{CommandError, Exit};
use output::Output;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const AFTER_HELP: &str = "\
Exit codes: 0 all checks hold; 1 the package is at fault; 2 the command line or a file given to it \
is wrong; 3 no verdict: the image, the host, the network or the boot failed; 130, 143 interrupted.

Example:
  postroj pkgprobe --image debian-bookworm --package ./my_1.0_amd64.deb \\
      --check-unit my --check-network http://localhost:8080";

/// Boot real Linux distributions with systemd, install a package there, and tell whether its
/// services run and answer.
#[derive(Debug, Parser)]
#[command(version, styles = STYLES, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Tell more; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Tell results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        env = "POSTROJ_COLOR",
        hide_env = true
    )]
    color: Color,
    /// Read this configuration file only
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "POSTROJ_CONFIG",
        hide_env = true
    )]
    config: Option<PathBuf>,
    /// Where the images are kept [default: /var/lib/postroj]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "POSTROJ_STATE_DIR",
        hide_env = true
    )]
    state_dir: Option<PathBuf>,
    /// Where downloads are kept [default: /var/cache/postroj]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "POSTROJ_CACHE_DIR",
        hide_env = true
    )]
    cache_dir: Option<PathBuf>,
    /// Which registries and mirrors to use [default: /etc/containers/registries.conf and its
    /// drop-ins]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "CONTAINERS_REGISTRIES_CONF",
        hide_env = true
    )]
    registries_conf: Option<PathBuf>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// In any case
    Always,
    /// In no case
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    ListImages(images::ListImages),
    Pull(images::Pull),
    Images(store::Images),
    Inspect(store::Inspect),
    Rmi(store::Rmi),
    Gc(store::Gc),
    Check(store::Check),
    Export(store::Export),
    Import(store::Import),
    Login(login::Login),
    Logout(login::Logout),
    Pkgprobe(Box<pkgprobe::Pkgprobe>),
    Selftest(Box<selftest::Selftest>),
    Run(Box<run::Run>),
    Task(task::Task),
    Chain(chain::Chain),
    Machines(machines::Machines),
    Stop(machines::Stop),
    Shell(machines::Shell),
    Doctor(doctor::Doctor),
    Completions(generate::Completions),
    Man(generate::Man),
    Schema(generate::Schema),
}

/// Runs the command that was typed, and gives the exit code.
pub(crate) fn main() -> i32 {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Hidden from the parser, because nobody types it.
    if let Some(code) = postroj::helper() {
        return code;
    }
    let (arguments, file) = match parse(arguments.clone()) {
        Ok(parsed) => parsed,
        Err(Unparsed::Clap(error)) => {
            // Help and version are no errors; clap knows where each goes.
            let _ = error.print();
            return match error.exit_code() {
                0 => 0,
                _ if is_run(&arguments) => run::OWN_FAILURE,
                code => code,
            };
        }
        Err(Unparsed::File(error)) => return Output::new(Color::Auto, false).error(&error),
    };
    raise_descriptor_limit();
    let mut output = Output::new(arguments.global.color, arguments.global.quiet);
    if let Some(file) = file {
        output.note(&format!("with the options of {}", file.display()));
    }
    // A bug of ours is no verdict. Its message has been printed, and what was up is being ended.
    let own = own_failure(&arguments.command);
    let ended = catch_unwind(AssertUnwindSafe(|| dispatch(arguments, &output)));
    match ended {
        Ok(Ok(exit)) => exit.code(),
        Ok(Err(error)) => output.error(&error),
        Err(_) => output.error(&own(CommandError::internal(
            "postroj itself is at fault: it panicked",
        ))),
    }
}

/// Why a command line could not be read.
enum Unparsed {
    /// For what it says itself, or because it asks for help.
    Clap(clap::Error),
    /// For what a run file says.
    File(CommandError),
}

/// What becomes of a failure that is not the command's: `run` has an exit code for those.
fn own_failure(command: &Command) -> fn(CommandError) -> CommandError {
    match command {
        Command::Run(_) => |error| error.with_code(run::OWN_FAILURE),
        _ => |error| error,
    }
}

/// Whether a command line, be it right or wrong, is one of `run`, whose exit codes are other than those
/// of the rest.
fn is_run(words: &[OsString]) -> bool {
    // Whatever comes after the command's name is somebody else's.
    let declared = clap::Command::new("postroj").allow_external_subcommands(true);
    let matches = Global::augment_args(declared).try_get_matches_from(words);
    matches.is_ok_and(|matches| matches.subcommand_name() == Some(run::NAME))
}

/// Reads the command line; `pkgprobe` adds what its run file says, whose path comes along.
fn parse(mut words: Vec<OsString>) -> Result<(Arguments, Option<PathBuf>), Unparsed> {
    let declared = Arguments::command();
    let command = declared.find_subcommand(pkgprobe::NAME).cloned();
    let mut matches = declared
        .try_get_matches_from(&words)
        .map_err(Unparsed::Clap)?;
    let mut file = None;
    if let (Some((pkgprobe::NAME, typed)), Some(command)) = (matches.subcommand(), command)
        && let Some(loaded) = runfile::load(&command, typed).map_err(Unparsed::File)?
    {
        words.extend(loaded.arguments.iter().cloned());
        file = Some(loaded);
        let declared = Arguments::command();
        matches = declared
            .try_get_matches_from(&words)
            .map_err(Unparsed::Clap)?;
    }
    let arguments = Arguments::from_arg_matches_mut(&mut matches);
    let mut arguments =
        arguments.map_err(|error| Unparsed::Clap(error.format(&mut Arguments::command())))?;
    let file = file.map(|file| {
        if let Command::Pkgprobe(command) = &mut arguments.command {
            command.declare(file.checks);
        }
        file.path
    });
    Ok((arguments, file))
}

/// Every layer of an image that is pulled takes a few descriptors, and an image may have hundreds; the
/// customary limit is 1024. setrlimit(2): a process may raise it up to the hard limit.
fn raise_descriptor_limit() {
    const ENOUGH: u64 = 16 * 1024;
    let resource = rustix::process::Resource::Nofile;
    let mut limit = rustix::process::getrlimit(resource);
    let wanted = limit.maximum.map_or(ENOUGH, |hard| hard.min(ENOUGH));
    if limit.current.is_some_and(|soft| soft < wanted) {
        limit.current = Some(wanted);
        // Where it cannot be raised, a pull that needs more says so.
        let _ = rustix::process::setrlimit(resource, limit);
    }
}

fn dispatch(arguments: Arguments, output: &Output) -> Result<Exit, CommandError> {
    output::start_log(
        arguments.global.verbose,
        arguments.global.quiet,
        output.has_colours(),
    );
    let own = own_failure(&arguments.command);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| own(CommandError::internal(format!("cannot start: {error}"))))?;
    let result = runtime.block_on(async {
        // A wrong configuration is told by every command that could have used it.
        let settings = match arguments.command {
            Command::Completions(command) => return Ok(command.run(output)),
            Command::Man(command) => return command.run(output),
            Command::Schema(command) => return Ok(command.run(output)),
            _ => Settings::load(&arguments.global).map_err(own)?,
        };
        match arguments.command {
            Command::ListImages(command) => command.run(&settings, output),
            Command::Pull(command) => Box::pin(command.run(&settings, output)).await,
            Command::Images(command) => command.run(&settings, output),
            Command::Inspect(command) => command.run(&settings, output),
            Command::Rmi(command) => command.run(&settings, output).await,
            Command::Export(command) => command.run(&settings, output).await,
            Command::Import(command) => command.run(&settings, output).await,
            Command::Check(command) => command.run(&settings, output).await,
            Command::Gc(command) => command.run(&settings, output).await,
            Command::Login(command) => command.run(&settings, output).await,
            Command::Logout(command) => command.run(output),
            Command::Pkgprobe(command) => command.run(&settings, output).await,
            Command::Selftest(command) => command.run(&settings, output).await,
            Command::Run(command) => Box::pin(command.run(&settings, output)).await,
            Command::Task(command) => Box::pin(command.run(&settings, output)).await,
            Command::Chain(command) => Box::pin(command.run(&settings, output)).await,
            Command::Machines(command) => command.run(output),
            Command::Stop(command) => command.run(output).await,
            Command::Shell(command) => command.run().await,
            Command::Doctor(command) => command.run(&settings, output).await,
            Command::Completions(_) | Command::Man(_) | Command::Schema(_) => {
                unreachable!("returned above")
            }
        }
    });
    // A thread may wait for standard input, and would for ever.
    runtime.shutdown_background();
    result
}
