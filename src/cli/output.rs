//! Standard output for results, standard error for everything else.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use postroj::matrix::Observer;
use postroj::progress::SharedProgress;
use postroj::report::Palette;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::Color;
use super::error::{CommandError, one_line};
use super::table;
use super::terminal::{Bars, Lines, apart};

/// Where results, progress and errors go.
pub(crate) struct Output {
    colours_out: bool,
    colours_err: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(color: Color, quiet: bool) -> Self {
        let on = |is_terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: set and not empty.
            Color::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self {
            colours_out: on(std::io::stdout().is_terminal()),
            colours_err: on(std::io::stderr().is_terminal()),
            quiet,
        }
    }

    /// Whether standard error takes colours.
    pub(crate) fn has_colours(&self) -> bool {
        self.colours_err
    }

    /// The colours of results.
    pub(crate) fn palette(&self) -> Palette {
        if self.colours_out {
            Palette::COLOURED
        } else {
            Palette::default()
        }
    }

    /// Who shows the progress of a long job.
    pub(crate) fn progress(&self) -> SharedProgress {
        if self.quiet {
            Arc::new(postroj::progress::Silent)
        } else if std::io::stderr().is_terminal() {
            Arc::new(Bars::new())
        } else {
            Arc::new(Lines::new())
        }
    }

    /// Who watches a run on these images.
    pub(crate) fn observer(&self, names: &[String]) -> Arc<dyn Observer> {
        if self.quiet || names.len() == 1 {
            return Arc::new(table::One(self.progress()));
        }
        let terminal = std::io::stderr();
        if !terminal.is_terminal() {
            return Arc::new(table::Lines::new(names));
        }
        let size = rustix::termios::tcgetwinsize(terminal);
        let (width, height) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
        let palette = if self.colours_err {
            Palette::COLOURED
        } else {
            Palette::default()
        };
        // What does not say how large it is is as large as terminals have always been.
        let or = |size: u16, usual: usize| if size == 0 { usual } else { size.into() };
        let size = (or(width, 80), or(height, 24));
        Arc::new(table::Table::new(names, palette, size))
    }

    /// Writes a result.
    #[expect(clippy::unused_self, reason = "results go where the output says")]
    pub(crate) fn result(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that has gone, as `head` does, is no error of ours.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// Writes a result as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value).map_err(CommandError::internal)?;
        self.result(&format!("{text}\n"));
        Ok(())
    }

    /// Tells something by the way.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            tell(&one_line(text));
        }
    }

    /// Passes on a line of somebody else's.
    pub(crate) fn line(&self, text: &str) {
        if !self.quiet {
            tell(text);
        }
    }

    /// Tells what is wrong, in a line.
    pub(crate) fn complain(&self, message: &str) {
        let (bad, reset) = if self.colours_err {
            (Palette::COLOURED.bad, Palette::COLOURED.reset)
        } else {
            ("", "")
        };
        tell(&format!("{bad}error{reset}: {}", one_line(message)));
    }

    /// Tells an error; gives its exit code.
    pub(crate) fn error(&mut self, error: &CommandError) -> i32 {
        self.complain(error.message());
        if let Some(hint) = error.hint() {
            tell(&format!("hint: {}", one_line(hint)));
        }
        error.code()
    }
}

/// Writes a line to standard error. That nobody reads it, or that the disk that it goes to is full,
/// does not change a verdict.
pub(crate) fn tell(line: &str) {
    apart(|| {
        let _ = writeln!(std::io::stderr(), "{line}");
    });
}

/// Where the log goes, a line at a time: not between bars.
struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        apart(|| std::io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Starts writing the log to standard error: warnings, or more by `-v`, or less by `-q`. `POSTROJ_LOG` has the last
/// word, in the form of `tracing_subscriber`'s filters.
pub(crate) fn start_log(verbose: u8, quiet: bool, colours: bool) {
    let level = match verbose {
        0 if quiet => "error",
        0 => "postroj=warn",
        1 => "postroj=info",
        2 => "postroj=debug",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("POSTROJ_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        .with_ansi(colours)
        .try_init();
}
