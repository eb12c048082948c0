//! A command ends and writes as it should.

use async_trait::async_trait;
use tokio::time::Instant;

use super::looking::Looking;
use super::texts::{Texts, quoted};
use crate::machine::{Command, ExitStatus, GuestError, Streams};
use crate::probe::check::{ProbeError, Scene};
use crate::probe::retry::Look;
use crate::probe::value::{Many, Pattern};

/// POSIX has it there.
const SHELL: &str = "/bin/sh";

keys! {
    /// A command in the container ends and writes as it should. It is run again until it does.
    pub struct CommandCheck {
        /// The command: a line for /bin/sh, or a list of the program's absolute path and its
        /// arguments.
        pub run: Many<String>,
        /// The exit code; 0 if nothing is said.
        pub exit_code: Option<i32>,
        /// Texts that standard output has to contain.
        #[serde(default)]
        pub stdout: Many<String>,
        /// Texts that standard output must not contain.
        #[serde(default)]
        pub stdout_lacks: Many<String>,
        /// Expressions that standard output has to match.
        #[serde(default)]
        pub stdout_matches: Many<Pattern>,
        /// Texts that standard error has to contain.
        #[serde(default)]
        pub stderr: Many<String>,
        /// Texts that standard error must not contain.
        #[serde(default)]
        pub stderr_lacks: Many<String>,
        /// Expressions that standard error has to match.
        #[serde(default)]
        pub stderr_matches: Many<Pattern>,
        /// The user who runs it; root if nothing is said.
        pub user: Option<String>,
    }
}

impl CommandCheck {
    fn command(&self) -> Command {
        let command = match &self.run[..] {
            [line] => Command::new(SHELL, ["-c", line]),
            [program, arguments @ ..] => Command::new(program, arguments.iter().cloned()),
            [] => Command::new(SHELL, ["-c", ""]),
        };
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let command = command.env("PATH", path);
        match &self.user {
            Some(user) => command.user(user),
            None => command,
        }
    }

    fn judge(&self, streams: &Streams) -> Result<Look, ProbeError> {
        let mut wrong = Vec::new();
        if streams.status != ExitStatus::Code(self.exit_code.unwrap_or(0)) {
            wrong.push(streams.status.to_string());
            // What it complained of says more than what it was meant to write.
            let said = if streams.stderr.trim().is_empty() {
                &streams.stdout
            } else {
                &streams.stderr
            };
            if !said.trim().is_empty() {
                wrong.push(format!("it wrote {}", quoted(said)));
            }
        }
        let stdout = Texts {
            contains: &self.stdout,
            lacks: &self.stdout_lacks,
            matches: &self.stdout_matches,
        };
        let stderr = Texts {
            contains: &self.stderr,
            lacks: &self.stderr_lacks,
            matches: &self.stderr_matches,
        };
        let (is_out_cut, is_err_cut) = (streams.is_stdout_cut, streams.is_stderr_cut);
        for (what, text, is_cut, asked) in [
            ("standard output", &streams.stdout, is_out_cut, stdout),
            ("standard error", &streams.stderr, is_err_cut, stderr),
        ] {
            let differences = if is_cut {
                asked.differences_of_part(what, text)
            } else {
                Some(asked.differences(what, text))
            };
            wrong.extend(differences.ok_or_else(|| ProbeError::Program {
                program: self.target(),
                reason: format!("it wrote more to {what} than can be searched"),
            })?);
        }
        Ok(Look::at(&[streams.status.to_string()], &wrong))
    }
}

#[async_trait]
impl Looking for CommandCheck {
    fn target(&self) -> String {
        self.run.join(" ")
    }

    fn validate(&self) -> Result<(), String> {
        match &self.run[..] {
            [] => Err("there is no command".to_owned()),
            [line] if line.trim().is_empty() => Err("there is no command".to_owned()),
            [_] => Ok(()),
            [program, ..] if program.starts_with('/') => Ok(()),
            [program, ..] => Err(format!("{program:?} is no absolute path")),
        }
    }

    async fn look(&self, scene: Scene<'_>, deadline: Instant) -> Result<Look, ProbeError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match scene.guest.run_apart(&self.command(), left).await {
            Ok(streams) => self.judge(&streams),
            Err(GuestError::Timeout { output, .. }) => {
                let wrote = quoted(&output.text);
                Ok(Look::Cut(format!("it did not end; it wrote {wrote}")))
            }
            Err(error) => Err(error.into()),
        }
    }
}
