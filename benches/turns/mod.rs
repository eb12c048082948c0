//! Commands measured one after the other in turns, on a host whose PID 1 is systemd.

#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::time::Duration;

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
    pub(crate) times: Vec<Duration>,
}

impl Candidate {
    pub(crate) fn new(name: &'static str, line: String) -> Self {
        Self {
            name,
            before: "true".to_owned(),
            line,
            after: "true".to_owned(),
            times: Vec::new(),
        }
    }

    /// Runs it once, timed inside the host: how it is got in there does not count.
    fn measure(&self, host: &Nested, round: usize) -> Duration {
        let script = format!(
            "n={round}; exec 3>&1 >/dev/null; {}; a=$(date +%s%N); {{ {}; }} >&2; rc=$?; b=$(date +%s%N); echo $((b - a)) >&3; {}; exit $rc",
            self.before, self.line, self.after
        );
        let outcome = host.run(&["sh", "-c", &script]).exits(0);
        Duration::from_nanos(outcome.stdout.trim().parse().expect("nanoseconds"))
    }
}

/// Measures each in turns and prints a table; the first is compared with the others.
pub(crate) fn take(host: &Nested, rounds: usize, candidates: &mut [Candidate]) {
    for round in 0..WARM_UP + rounds {
        for candidate in &mut *candidates {
            let time = candidate.measure(host, round);
            if round >= WARM_UP {
                candidate.times.push(time);
            }
        }
    }
    let own = median(&candidates[0].times);
    println!("{rounds} rounds each, in turns; seconds");
    println!(
        "{:45} {:>7} {:>7} {:>7} {:>16}",
        "", "median", "least", "most", "postroj to this"
    );
    for candidate in candidates {
        let median = median(&candidate.times);
        let least = candidate.times.iter().min().copied().unwrap_or_default();
        let most = candidate.times.iter().max().copied().unwrap_or_default();
        println!(
            "{:45} {:7.3} {:7.3} {:7.3} {:16.2}",
            candidate.name,
            median.as_secs_f64(),
            least.as_secs_f64(),
            most.as_secs_f64(),
            own.as_secs_f64() / median.as_secs_f64()
        );
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
