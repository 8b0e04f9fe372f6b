//! When to look at a waiting export again.

use std::time::Duration;

use uuid::Uuid;

use super::Options;

/// The shortest wait, for a sandbox on the same machine.
const SHORTEST: Duration = Duration::from_millis(100);

/// The longest wait that can be asked for: Microsoft promises an export within this time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How long to wait before look number `attempt` (0 is the first): half as long again each time up to
/// [`Poll::max_secs`](super::Poll::max_secs), and up to a tenth shorter or longer so that several exports do not ask
/// in step.
#[must_use]
pub fn next_poll(options: &Options, attempt: u32) -> Duration {
    let longest = Duration::from_secs(options.poll.max_secs).clamp(SHORTEST, LONGEST);
    let mut wait = Duration::from_secs(options.poll.first_secs).clamp(SHORTEST, longest);
    for _ in 0..attempt {
        if wait == longest {
            break;
        }
        wait = (wait + wait / 2).min(longest);
    }
    // A version 4 UUID is random; 0 to 200 thousandths on top of nine tenths.
    let jitter = u32::from(Uuid::new_v4().as_bytes()[0]) * 200 / 255;
    wait * (900 + jitter) / 1000
}

#[cfg(test)]
mod tests {
    use super::super::Poll;
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_bounds() {
        let options = Options { poll: Poll { first_secs: 10, max_secs: 300 }, ..Options::default() };
        for (attempt, middle) in
            [(0, 10_000_u128), (1, 15_000), (3, 33_750), (20, 300_000), (u32::MAX, 300_000)]
        {
            let wait = next_poll(&options, attempt).as_millis();
            assert!((middle * 9 / 10..=middle * 11 / 10).contains(&wait), "{attempt}: {wait}");
        }
        let eager = Options { poll: Poll { first_secs: 0, max_secs: 0 }, ..Options::default() };
        assert!(next_poll(&eager, 50) >= Duration::from_millis(90));
    }

    #[test]
    fn waits_are_spread() {
        let waits: std::collections::HashSet<_> =
            (0..50).map(|_| next_poll(&Options::default(), 0)).collect();
        assert!(waits.len() > 5);
    }
}
