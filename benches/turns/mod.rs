//! Commands measured one after the other in turns, on a host whose PID 1 is systemd.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::time::Duration;

use crate::statistics::Spread;
use crate::support::nested::Nested;

const WARM_UP: usize = 2;

/// One way to do the work.
pub(crate) struct Candidate {
    pub(crate) name: &'static str,
    /// What has to be there; not measured itself. As all of these, shell, with `$n` the number of the
    /// round.
    pub(crate) before: String,
    /// What is measured.
    pub(crate) line: String,
    /// What has to have happened before the next one is measured; not measured itself.
    pub(crate) after: String,
    /// How much the work may take of the time that this takes, if that was promised.
    pub(crate) at_most: Option<f64>,
    pub(crate) times: Vec<Duration>,
    /// What it wrote to its standard output, each time.
    pub(crate) outputs: Vec<String>,
}

impl Candidate {
    pub(crate) fn new(name: &'static str, line: String) -> Self {
        Self {
            name,
            before: "true".to_owned(),
            line,
            after: "true".to_owned(),
            at_most: None,
            times: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Runs it once, timed inside the host: how it is got in there does not count, nor does a program
    /// that would tell the time. The first line that comes of it is the time, in microseconds.
    fn measure(&self, host: &Nested, round: usize) -> (Duration, String) {
        let script = format!(
            "n={round}; exec 3>&1 >/dev/null; {}; said=$(mktemp); a=$EPOCHREALTIME; {{ {}; }} >$said; rc=$?; \
             b=$EPOCHREALTIME; echo $((${{b/./}} - ${{a/./}})) >&3; cat $said >&3; rm $said; {}; exit $rc",
            self.before, self.line, self.after
        );
        let outcome = host.run(&["bash", "-c", &script]).exits(0);
        let (time, output) = outcome.stdout.split_once('\n').expect("a line");
        let time = Duration::from_micros(time.parse().expect("microseconds"));
        (time, output.to_owned())
    }
}

/// Measures each in turns and prints a table; the first is compared with the others.
pub(crate) fn take(host: &Nested, rounds: usize, candidates: &mut [Candidate]) {
    for round in 0..WARM_UP + rounds {
        for candidate in &mut *candidates {
            let (time, output) = candidate.measure(host, round);
            if round >= WARM_UP {
                candidate.times.push(time);
                candidate.outputs.push(output);
            }
        }
    }
    println!("{rounds} rounds each, in turns; seconds, with the first and the third quartile");
    println!(
        "{:45} {:>7} {:>17} {:>16}",
        "", "median", "quartiles", "postroj to this"
    );
    let own = Spread::of(&candidates[0].times).median;
    for candidate in candidates {
        let spread = Spread::of(&candidate.times);
        let at_most = candidate
            .at_most
            .map(|most| format!("  (at most {most:.2})"));
        println!(
            "{:45} {:7.3} {:8.3} {:8.3} {:16.2}{}",
            candidate.name,
            spread.median.as_secs_f64(),
            spread.first.as_secs_f64(),
            spread.third.as_secs_f64(),
            own.as_secs_f64() / spread.median.as_secs_f64(),
            at_most.unwrap_or_default()
        );
    }
}
