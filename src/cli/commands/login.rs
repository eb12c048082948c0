//! `login` and `logout`: credentials for registries.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use postroj::image::credentials::{self, CredentialsError};
use postroj::image::{FetchError, OciError, log_in};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::access::RegistryOptions;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// No password is longer.
const PASSWORD_MAX: u64 = 64 << 10;

/// Keep a user and a password for a registry
///
/// The registry is asked first whether it accepts them. They are kept where `podman login` keeps them,
/// in `$XDG_RUNTIME_DIR/containers/auth.json` (`/run/containers/UID/auth.json` without it), until the
/// next boot, readable by their owner only; --authfile names a file that stays. A file that says that a
/// credential helper keeps them is followed.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// The registry, HOST[:PORT], or a part of it, HOST[:PORT]/PATH
    registry: String,
    /// Who you are there; asked for on a terminal
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,
    /// Read the password from standard input, where nobody sees it; asked for on a terminal
    #[arg(long, requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    options: RegistryOptions,
}

/// Forget the user and the password for a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// The registry, as it was given to `postroj login`
    #[arg(required_unless_present = "all")]
    registry: Option<String>,
    /// Forget those for all registries
    #[arg(short, long, conflicts_with = "registry")]
    all: bool,
    #[command(flatten)]
    options: RegistryOptions,
}

impl Login {
    pub(crate) async fn run(
        self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        let registry = name(&self.registry)?;
        let mut access = settings.access(&self.options)?;
        // The file that is to be written need not be there, and what it has does not count.
        access.credentials = credentials::AuthFiles::default();
        let is_terminal = io::stdin().is_terminal();
        if !is_terminal && !self.password_stdin {
            return Err(
                CommandError::usage("there is no terminal to ask for a password on").with_hint(
                    Some(
                        "give --username USER --password-stdin, and the password on standard input",
                    ),
                ),
            );
        }
        let (given, asks) = (self.username.clone(), !self.password_stdin);
        let mut signals = Signals::listen()?;
        let before = (is_terminal && asks)
            .then(|| tcgetattr(io::stdin()).ok())
            .flatten();
        let read = tokio::task::spawn_blocking(move || read(given, asks));
        let read = tokio::select! {
            signal = signals.next() => Err(signal),
            read = read => Ok(read),
        };
        if let Some(before) = before {
            // What was typed was not shown; what comes now is again.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
        }
        let (user, password) = match read {
            Err(signal) => return Ok(Exit::Signal(signal)),
            Ok(read) => read
                .map_err(CommandError::internal)?
                .map_err(|error| CommandError::usage(format!("cannot read it: {error}")))?,
        };
        if user.is_empty() || password.is_empty() || user.contains(':') {
            return Err(CommandError::usage(
                "the user or the password is empty, or the user has a colon",
            ));
        }
        let accepted = tokio::select! {
            signal = signals.next() => return Ok(Exit::Signal(signal)),
            accepted = log_in(&registry, &user, &password, &access) => accepted,
        };
        accepted.map_err(|error| refused(&registry, error))?;
        let path = self.options.written();
        credentials::keep(&path, &registry, &user, &password).map_err(not_kept)?;
        output.note(&format!(
            "{registry}: logged in as {user}, as {} says",
            path.display()
        ));
        Ok(Exit::Success)
    }
}

impl Logout {
    pub(crate) fn run(self, output: &Output) -> Result<Exit, CommandError> {
        let path = self.options.written();
        if let Some(registry) = &self.registry {
            let registry = name(registry)?;
            credentials::forget(&path, &registry).map_err(not_kept)?;
            output.note(&format!("{registry}: logged out"));
        } else {
            credentials::forget_all(&path).map_err(not_kept)?;
            output.note("logged out of all registries");
        }
        Ok(Exit::Success)
    }
}

/// The user and the password, from the terminal or from standard input.
fn read(user: Option<String>, asks: bool) -> io::Result<(String, String)> {
    let stdin = io::stdin();
    let mut line = String::new();
    let user = if let Some(user) = user {
        user
    } else {
        prompt("user: ");
        stdin.lock().read_line(&mut line)?;
        std::mem::take(&mut line).trim().to_owned()
    };
    if asks {
        let mut modes = tcgetattr(&stdin)?;
        modes.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Flush, &modes)?;
        prompt("password: ");
        stdin.lock().read_line(&mut line)?;
        // The end of the line was not shown either.
        prompt("\n");
    } else {
        stdin.lock().take(PASSWORD_MAX).read_to_string(&mut line)?;
    }
    Ok((user, line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Asks for something. That nobody sees it is no error of ours.
fn prompt(text: &str) {
    let mut out = io::stderr();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// The name of a registry, under which its credentials are kept.
fn name(typed: &str) -> Result<String, CommandError> {
    let bare = ["docker://", "https://", "http://"]
        .iter()
        .find_map(|scheme| typed.strip_prefix(scheme))
        .unwrap_or(typed)
        .trim_end_matches('/');
    let valid = !bare.is_empty()
        && bare
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_:/[]".contains(c))
        && !bare.starts_with('/');
    if !valid {
        return Err(CommandError::usage(format!(
            "{typed:?} is no registry of the form HOST[:PORT][/PATH]"
        )));
    }
    let (host, path) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
    Ok(format!("{}{path}", credentials::registry_key(host)))
}

fn refused(registry: &str, error: OciError) -> CommandError {
    // What to do about a password that is refused need not be said to who is logging in.
    let hint = match error {
        OciError::Fetch(FetchError::Unauthorised { .. }) => None,
        _ => error.hint(),
    };
    let made = if error.is_usage() {
        CommandError::usage(error)
    } else {
        CommandError::internal(format!("not logged in to {registry}: {error}"))
    };
    made.with_hint(hint)
}

fn not_kept(error: CredentialsError) -> CommandError {
    if error.is_usage() {
        CommandError::usage(error)
    } else {
        CommandError::internal(error)
    }
}
