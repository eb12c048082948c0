//! `check`: whether the store is sound.

use std::fmt::Write as _;

use postroj::image::{Checked, Repaired};
use postroj::report::printable;

use super::list::counted;
use crate::cli::config::Settings;
use crate::cli::error::{CommandError, Exit, require_root};
use crate::cli::output::Output;
use crate::cli::signals::Signals;

/// Compare what the store holds with what was verified when it was taken
///
/// Every file of the layers is read again. Each difference is a line that names the layer, the path
/// and what is different; the exit code is 3 then. It may run beside anything else.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The images, as `postroj images` lists them [default: all, and layers without an image]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Get what is broken again from where it came from; a layer that cannot be had again is gone
    #[arg(long)]
    repair: bool,
}

impl Check {
    pub(crate) async fn run(
        &self,
        settings: &Settings,
        output: &Output,
    ) -> Result<Exit, CommandError> {
        require_root()?;
        let mut signals = Signals::listen()?;
        let images = settings.images(&output.progress())?;
        let mut chosen = Vec::new();
        for name in &self.images {
            chosen.push(images.stored(name)?);
        }
        let chosen = (!chosen.is_empty()).then_some(chosen);
        let work = async {
            let checked = images.check(chosen.as_deref()).await?;
            output.result(&found(&checked));
            if checked.problems.is_empty() {
                return Ok(Exit::Success);
            }
            if !self.repair {
                let text = counted(checked.problems.len(), "problem");
                return Err(CommandError::internal(format!("{text} found"))
                    .with_hint(Some("postroj check --repair gets what is broken again")));
            }
            let repaired = images.repair(&checked.problems).await?;
            output.result(&mended(&repaired));
            let mut names = Vec::new();
            for name in &repaired.images {
                names.push(images.stored(name)?);
            }
            let again = images.check(Some(&names)).await?;
            if !again.problems.is_empty() {
                output.result(&found(&again));
            }
            match repaired.unrepaired.len() + again.problems.len() {
                0 => Ok(Exit::Success),
                left => Err(CommandError::internal(format!(
                    "{} not repaired",
                    counted(left, "problem")
                ))),
            }
        };
        tokio::select! {
            signal = signals.next() => Ok(Exit::Signal(signal)),
            exit = work => exit,
        }
    }
}

fn found(checked: &Checked) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for problem in &checked.problems {
        let _ = writeln!(text, "{}", printable(&problem.to_string()));
    }
    if checked.problems.is_empty() {
        let _ = writeln!(text, "{}: no problem", counted(checked.layers, "layer"));
    }
    text
}

fn mended(repaired: &Repaired) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for name in &repaired.images {
        let _ = writeln!(text, "repaired: {}", printable(name));
    }
    for what in &repaired.removed {
        let _ = writeln!(text, "removed: {}", printable(what));
    }
    for left in &repaired.unrepaired {
        let _ = writeln!(
            text,
            "not repaired: {}: {}",
            printable(&left.what),
            printable(&left.reason)
        );
    }
    text
}
