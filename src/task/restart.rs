//! When a command is started again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The pause before the first start anew; each further one is twice as long as that before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A command that has run for so long has started well: the pauses begin anew.
const STARTED_WELL: Duration = Duration::from_secs(10);

/// When a command that has ended is started again; docker-run(1), `--restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0, a signal has ended it, or it took too long; so many times, if that is
    /// said.
    OnFailure(Option<u32>),
    /// Whenever it has ended.
    Always,
}

impl Restart {
    /// Whether it is started once more, having been so often already.
    pub(super) fn applies(self, has_failed: bool, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => has_failed && most.is_none_or(|most| restarts < most),
            Self::Always => true,
        }
    }
}

impl FromStr for Restart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure(None)),
            "unless-stopped" => Err(
                "after a reboot of the host nothing is started again; always is the same otherwise"
                    .to_owned(),
            ),
            _ => {
                let most = text.strip_prefix("on-failure:").map(str::parse);
                match most {
                    Some(Ok(most)) => Ok(Self::OnFailure(Some(most))),
                    _ => Err("expected no, on-failure, on-failure:NUMBER or always".to_owned()),
                }
            }
        }
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => formatter.write_str("no"),
            Self::OnFailure(None) => formatter.write_str("on-failure"),
            Self::OnFailure(Some(most)) => write!(formatter, "on-failure:{most}"),
            Self::Always => formatter.write_str("always"),
        }
    }
}

/// How long the pauses between the starts of a command are.
#[derive(Debug, Default)]
pub(super) struct Pauses(Option<Duration>);

impl Pauses {
    /// The next, after the command has run so long.
    pub(super) fn next(&mut self, ran: Duration) -> Duration {
        let pause = match self.0 {
            Some(last) if ran < STARTED_WELL => (2 * last).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.0 = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_written_as_they_are_read() {
        for text in ["no", "on-failure", "on-failure:3", "always"] {
            assert_eq!(text.parse::<Restart>().unwrap().to_string(), text);
        }
        for text in ["", "unless-stopped", "on-failure:", "on-failure:x", "never"] {
            assert!(text.parse::<Restart>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_was_said() {
        assert!(!Restart::No.applies(true, 0));
        assert!(Restart::Always.applies(false, 1000));
        assert!(!Restart::OnFailure(None).applies(false, 0));
        let thrice = Restart::OnFailure(Some(3));
        assert!(thrice.applies(true, 2));
        assert!(!thrice.applies(true, 3));
    }

    #[test]
    fn pauses_grow_until_the_command_runs() {
        let mut pauses = Pauses::default();
        let milliseconds: Vec<u128> = (0..12)
            .map(|_| pauses.next(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(milliseconds[..4], [100, 200, 400, 800]);
        assert_eq!(milliseconds[11], 60_000);
        assert_eq!(pauses.next(STARTED_WELL), FIRST_PAUSE);
    }
}
