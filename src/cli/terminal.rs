//! The progress of a long job: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use postroj::progress::{Event, Progress, StepId};
use postroj::report::printable;

use super::output::tell;

/// All that is drawn on this process's terminal.
static DRAWN: OnceLock<MultiProgress> = OnceLock::new();

/// Where bars are drawn.
pub(super) fn drawn() -> MultiProgress {
    let new = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    DRAWN.get_or_init(new).clone()
}

/// Writes to standard error where no bar is meanwhile.
pub(super) fn apart<T>(write: impl FnOnce() -> T) -> T {
    match DRAWN.get() {
        Some(drawn) => drawn.suspend(write),
        None => write(),
    }
}

/// A bar or a spinner per step, on a terminal.
pub(super) struct Bars {
    all: MultiProgress,
    steps: Mutex<HashMap<StepId, ProgressBar>>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self {
            all: drawn(),
            steps: Mutex::new(HashMap::new()),
        }
    }

    fn with(&self, step: StepId, what: impl FnOnce(&ProgressBar)) {
        if let Ok(steps) = self.steps.lock()
            && let Some(bar) = steps.get(&step)
        {
            what(bar);
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn bar() -> ProgressStyle {
    let template = "{spinner} {msg:30!} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn report(&self, event: &Event) {
        match event {
            Event::Started {
                step,
                title,
                total,
                whole,
            } => {
                let (made, style) = match total {
                    Some(total) => (ProgressBar::new(*total), bar()),
                    None => (ProgressBar::new_spinner(), spinner()),
                };
                let made = made.with_style(style);
                if let Ok(mut steps) = self.steps.lock() {
                    // The whole is the sum below its parts.
                    let made = match whole.as_ref().and_then(|whole| steps.get(whole)) {
                        Some(whole) => self.all.insert_before(whole, made),
                        None => self.all.add(made),
                    };
                    made.set_message(printable(title));
                    made.enable_steady_tick(Duration::from_millis(100));
                    steps.insert(*step, made);
                }
            }
            Event::Sized { step, total } => self.with(*step, |made| {
                made.set_length(*total);
                made.set_style(bar());
            }),
            Event::Advanced { step, bytes } => self.with(*step, |made| made.inc(*bytes)),
            Event::Finished {
                step,
                success,
                elapsed,
            } => {
                let ended = self.steps.lock().ok().and_then(|mut all| all.remove(step));
                if let Some(made) = ended {
                    let title = made.message();
                    made.finish_and_clear();
                    self.all.remove(&made);
                    let _ = self.all.println(finished(&title, *success, *elapsed));
                }
            }
            Event::Note(text) => {
                let _ = self.all.println(printable(text));
            }
        }
    }
}

/// A line per step, for logs.
pub(super) struct Lines {
    titles: Mutex<HashMap<StepId, String>>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            titles: Mutex::new(HashMap::new()),
        }
    }
}

impl Progress for Lines {
    fn report(&self, event: &Event) {
        match event {
            Event::Started { step, title, .. } => {
                let title = printable(title);
                if let Ok(mut titles) = self.titles.lock() {
                    titles.insert(*step, title);
                }
            }
            Event::Sized { .. } | Event::Advanced { .. } => {}
            Event::Finished {
                step,
                success,
                elapsed,
            } => {
                let ended = self.titles.lock().ok().and_then(|mut all| all.remove(step));
                if let Some(title) = ended {
                    tell(&finished(&title, *success, *elapsed));
                }
            }
            Event::Note(text) => tell(&printable(text)),
        }
    }
}

pub(super) fn finished(title: &str, success: bool, elapsed: Duration) -> String {
    let word = if success { "done" } else { "FAILED" };
    format!("{title}: {word} ({:.2} s)", elapsed.as_secs_f64())
}
