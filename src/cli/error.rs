//! Errors as people see them, and exit codes.

/// How a command ended that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Success,
    /// The package is at fault.
    Failed,
    /// No verdict.
    NoVerdict,
    /// A signal made it end.
    Signal(i32),
    /// A command in a container ended with this code.
    Code(i32),
}

impl Exit {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::NoVerdict => 3,
            Self::Signal(signal) => 128 + signal,
            Self::Code(code) => code,
        }
    }
}

/// An error for the person who has to act on it.
#[derive(Debug)]
pub(crate) struct CommandError {
    message: String,
    hint: Option<String>,
    code: i32,
}

impl CommandError {
    /// The command line or a file that it names is wrong.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "map_err hands the error over"
    )]
    pub(crate) fn usage(message: impl ToString) -> Self {
        Self {
            message: one_line(&message.to_string()),
            hint: None,
            code: 2,
        }
    }

    /// The image, the host or the network is in the way.
    pub(crate) fn internal(message: impl ToString) -> Self {
        Self {
            code: 3,
            ..Self::usage(message)
        }
    }

    /// Adds what to do about it.
    pub(crate) fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: i32) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn code(&self) -> i32 {
        self.code
    }
}

/// An error is one line, whatever it quotes.
pub(crate) fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    postroj::report::printable(&lines.join("; "))
}

impl From<postroj::machine::MachineError> for CommandError {
    fn from(error: postroj::machine::MachineError) -> Self {
        let usage = matches!(
            error,
            postroj::machine::MachineError::NoMachine(_)
                | postroj::machine::MachineError::NameTaken(_)
        );
        let hint = error.hint();
        let made = if usage {
            Self::usage(error)
        } else {
            Self::internal(error)
        };
        made.with_hint(hint)
    }
}

impl From<postroj::image::ImageError> for CommandError {
    fn from(error: postroj::image::ImageError) -> Self {
        let hint = error.hint();
        let made = if error.is_usage() {
            Self::usage(error)
        } else {
            Self::internal(error)
        };
        made.with_hint(hint)
    }
}

/// Makes sure that this is root, as all that touches the store or containers has to be.
pub(crate) fn require_root() -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(postroj::machine::MachineError::NotRoot.into())
    }
}
