//! Trying until a check holds or its time is over.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::Outcome;

/// The pause after the first attempt that fails; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The pause between attempts, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// What one attempt has seen, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// It holds.
    Holds(String),
    /// It does not, and may yet.
    NotYet(String),
    /// The attempt was cut short by the end of its time: any other that was made says more.
    Cut(String),
}

impl Look {
    /// Holds if nothing is wrong, and says then what was seen, else what is wrong.
    pub(super) fn at(seen: &[String], wrong: &[String]) -> Self {
        if wrong.is_empty() {
            Self::Holds(seen.join(", "))
        } else {
            Self::NotYet(wrong.join(", "))
        }
    }
}

/// Whether attempts may be made beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// One after the other. Each bounds itself, and is waited for.
    Never,
    /// Another one beside one that has not come to its end after so long, which is still waited for.
    After(Duration),
}

/// Makes attempts until one holds. One that does not is followed by another after a pause. An error
/// is given at once: it is no outcome.
pub(super) async fn until<A, F, E>(
    patience: Duration,
    beside: Beside,
    mut attempt: A,
) -> Result<Outcome, E>
where
    A: FnMut() -> F,
    F: Future<Output = Result<Look, E>>,
{
    let deadline = Instant::now() + patience;
    // A year hence is never.
    let hanging = match beside {
        Beside::Never => Duration::from_secs(365 * 24 * 3600),
        Beside::After(hanging) => hanging,
    };
    let mut attempts = FuturesUnordered::new();
    attempts.push(attempt());
    let mut pause = FIRST_PAUSE;
    let mut next = Instant::now() + hanging;
    let mut last = None;
    loop {
        tokio::select! {
            // What has come in time counts, even if the deadline is now.
            biased;
            Some(result) = attempts.next() => match result? {
                Look::Holds(observation) => return Ok(Outcome::passed(observation)),
                Look::NotYet(observation) => {
                    last = Some(observation);
                    if Instant::now() >= deadline {
                        break;
                    }
                    next = next.min(Instant::now() + pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Look::Cut(observation) => {
                    last.get_or_insert(observation);
                    break;
                }
            },
            () = sleep_until(deadline), if beside != Beside::Never || attempts.is_empty() => break,
            () = sleep_until(next) => {
                attempts.push(attempt());
                next = Instant::now() + hanging;
            }
        }
    }
    let last = last.unwrap_or_else(|| "timed out".to_owned());
    let tried = patience.as_secs_f64();
    Ok(Outcome::failed(format!("{last} (tried for {tried} s)")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn made(looks: &[Look]) -> (Outcome, usize) {
        let mut count = 0;
        let outcome = until(Duration::from_millis(50), Beside::Never, || {
            let look = looks[count.min(looks.len() - 1)].clone();
            count += 1;
            async move { Ok::<_, Infallible>(look) }
        })
        .await
        .unwrap();
        (outcome, count)
    }

    #[tokio::test]
    async fn the_last_that_was_seen_is_told() {
        let no = |text: &str| Look::NotYet(text.to_owned());
        let (outcome, count) = made(&[no("one"), Look::Holds("two".to_owned())]).await;
        assert_eq!((outcome, count), (Outcome::passed("two"), 2));
        let (outcome, _) = made(&[no("one"), no("two")]).await;
        assert_eq!(outcome, Outcome::failed("two (tried for 0.05 s)"));
        let (outcome, count) = made(&[no("one"), Look::Cut("two".to_owned())]).await;
        assert_eq!(outcome, Outcome::failed("one (tried for 0.05 s)"));
        assert_eq!(count, 2);
    }
}
