//! The progress of a run on several images: a row for each on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use postroj::matrix::Observer;
use postroj::progress::{Event, Progress, SharedProgress, StepId};
use postroj::report::{ImageReport, Palette, Verdict, printable, shortened};

use super::output::tell;
use super::terminal::{drawn, finished};

/// Listens to whatever image there is as to any job.
pub(super) struct One(pub(super) SharedProgress);

impl Observer for One {
    fn begins(&self, _image: usize) -> SharedProgress {
        Arc::clone(&self.0)
    }

    fn ended(&self, _image: usize, _report: &ImageReport) {}
}

/// A line for each step, with the image's name before it.
pub(super) struct Lines {
    names: Vec<String>,
}

impl Lines {
    pub(super) fn new(names: &[String]) -> Self {
        let names = names.iter().map(|name| printable(name)).collect();
        Self { names }
    }
}

impl Observer for Lines {
    fn begins(&self, image: usize) -> SharedProgress {
        Arc::new(ImageLines {
            name: self.names[image].clone(),
            titles: Mutex::default(),
        })
    }

    fn ended(&self, image: usize, report: &ImageReport) {
        tell(&format!("[{}] {}", self.names[image], outcome(report)));
    }
}

/// The lines of one image.
struct ImageLines {
    name: String,
    titles: Mutex<HashMap<StepId, String>>,
}

impl Progress for ImageLines {
    fn report(&self, event: &Event) {
        match event {
            Event::Started { step, title, .. } => {
                lock(&self.titles).insert(*step, printable(title));
            }
            Event::Sized { .. } | Event::Advanced { .. } => {}
            Event::Finished {
                step,
                success,
                elapsed,
            } => {
                let title = lock(&self.titles).remove(step);
                if let Some(title) = title {
                    let line = finished(&title, *success, *elapsed);
                    tell(&format!("[{}] {line}", self.name));
                }
            }
            Event::Note(text) => tell(&format!("[{}] {}", self.name, printable(text))),
        }
    }
}

/// A row for each image, on a terminal: its name, what is being done, and for how long.
///
/// Where there are more images than lines, the rows are those of the images that are being tested, and
/// what has come of the others is written above them.
pub(super) struct Table {
    all: MultiProgress,
    rows: Vec<ProgressBar>,
    is_crowded: bool,
    palette: Palette,
}

/// The room for an image's name, as a part of the terminal's width.
const NAME_SHARE: usize = 3;

/// How often a row's time is written anew.
const TICK: Duration = Duration::from_millis(200);

impl Table {
    /// A table for a terminal of a size.
    pub(super) fn new(names: &[String], palette: Palette, (width, height): (usize, usize)) -> Self {
        let all = drawn();
        let is_crowded = names.len() >= height;
        let names: Vec<String> = names
            .iter()
            .map(|name| shortened(&printable(name), width / NAME_SHARE))
            .collect();
        let lengths = names.iter().map(|name| name.chars().count());
        let wide = lengths.max().unwrap_or_default();
        let row = |name: &String| {
            let row = ProgressBar::new_spinner().with_style(waiting());
            let row = row.with_prefix(format!("{name:<wide$}"));
            let row = row.with_message("waiting");
            if is_crowded {
                return row;
            }
            let row = all.add(row);
            row.tick();
            row
        };
        Self {
            rows: names.iter().map(row).collect(),
            all,
            is_crowded,
            palette,
        }
    }
}

// The message gives way to what is beside it, and is cut where the line ends.
fn waiting() -> ProgressStyle {
    style("  {prefix}         {wide_msg}")
}

fn under_way() -> ProgressStyle {
    style("{spinner} {prefix}  {elapsed:>5}  {wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Observer for Table {
    fn begins(&self, image: usize) -> SharedProgress {
        let mut row = self.rows[image].clone();
        if self.is_crowded {
            row = self.all.add(row);
        }
        row.set_style(under_way());
        row.set_message("");
        row.reset_elapsed();
        row.enable_steady_tick(TICK);
        Arc::new(Row {
            bar: row,
            all: self.all.clone(),
            name: self.rows[image].prefix(),
            steps: Mutex::default(),
        })
    }

    fn ended(&self, image: usize, report: &ImageReport) {
        let row = &self.rows[image];
        let (mark, what) = match report.verdict {
            Verdict::Passed => (self.palette.good, String::new()),
            Verdict::Failed | Verdict::Error => (
                self.palette.bad,
                report
                    .first_failure()
                    .map(|what| format!("  {what}"))
                    .unwrap_or_default(),
            ),
        };
        let word = word(report.verdict);
        let message = format!("{mark}{word}{}{what}", self.palette.reset);
        if self.is_crowded {
            row.finish_and_clear();
            self.all.remove(row);
            let seconds = report.timings.total.as_secs();
            let line = format!(
                "  {}  {:>5}  {message}",
                row.prefix(),
                format!("{seconds}s")
            );
            let _ = self.all.println(line);
        } else {
            // No spinner any more; the time stands still.
            row.set_style(style("  {prefix}  {elapsed:>5}  {wide_msg}"));
            row.finish_with_message(message);
        }
    }
}

/// A step that is being done.
struct Doing {
    step: StepId,
    title: String,
    /// How many bytes of how many.
    done: u64,
    total: Option<u64>,
}

/// The row of one image.
struct Row {
    bar: ProgressBar,
    all: MultiProgress,
    name: String,
    /// The steps that are being done, the latest last.
    steps: Mutex<Vec<Doing>>,
}

impl Progress for Row {
    fn report(&self, event: &Event) {
        let mut steps = lock(&self.steps);
        match event {
            Event::Started {
                step, title, total, ..
            } => steps.push(Doing {
                step: *step,
                title: printable(title),
                done: 0,
                total: *total,
            }),
            Event::Sized { step, total } => {
                if let Some(doing) = steps.iter_mut().find(|doing| doing.step == *step) {
                    doing.total = Some(*total);
                }
            }
            Event::Advanced { step, bytes } => {
                if let Some(doing) = steps.iter_mut().find(|doing| doing.step == *step) {
                    doing.done += bytes;
                }
            }
            Event::Finished { step, .. } => steps.retain(|doing| doing.step != *step),
            Event::Note(text) => {
                let name = self.name.trim_end();
                let _ = self.all.println(format!("[{name}] {}", printable(text)));
            }
        }
        if let Some(Doing {
            title, done, total, ..
        }) = steps.last()
        {
            self.bar.set_message(match total {
                Some(total) if *total > 0 => {
                    format!("{title} {} %", done.saturating_mul(100) / total)
                }
                _ => title.clone(),
            });
        }
    }
}

fn outcome(report: &ImageReport) -> String {
    let seconds = report.timings.total.as_secs_f64();
    let what = report.first_failure().map(|what| format!(": {what}"));
    format!(
        "{} in {seconds:.1} s{}",
        word(report.verdict),
        what.unwrap_or_default()
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Error => "no verdict",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
