//! The sandbox's own clock, which may run faster than the client's: a day of waiting in a minute.
//!
//! Delays and lifetimes run by the own clock. What a client is told about time is in the client's seconds: lifetimes
//! are divided by the speed and rounded down, but never below one second; waits (`interval`, `Retry-After`) are one
//! second, which is short enough at any speed; instants are those of the client's clock. (`se` in the address of a
//! blob is signed, and stays an instant of the own clock.)

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where the own clock stood when the client's stood at `client`, and how fast it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    client: Timestamp,
    own: Timestamp,
    speed: u32,
}

/// One instant in both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub own: Timestamp,
    pub client: Timestamp,
    pub speed: u32,
}

impl Clock {
    /// The clock of a state folder: it goes on from where it stood, so that it never runs back. A folder in which no
    /// clock ever ran faster holds none.
    ///
    /// # Errors
    /// What the file system says, and a file that is no clock.
    pub fn open(dir: &Path, speed: u32, client: Timestamp) -> io::Result<Self> {
        let path = dir.join("clock.json");
        let own = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Clock>(&bytes)?.at(client).own,
            Err(error) if error.kind() == io::ErrorKind::NotFound && speed == 1 => {
                return Ok(Clock { client, own: client, speed });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => client,
            Err(error) => return Err(error),
        };
        let clock = Clock { client, own, speed };
        let temporary = path.with_extension("part");
        fs::write(&temporary, serde_json::to_vec_pretty(&clock)?)?;
        fs::rename(temporary, path)?;
        Ok(clock)
    }

    #[must_use]
    pub fn at(&self, client: Timestamp) -> Moment {
        let millis =
            (client.as_millisecond() - self.client.as_millisecond()).saturating_mul(self.speed.into());
        let own = self.own.as_millisecond().saturating_add(millis);
        // Past the year 9999 it stands still.
        let own = if self.speed == 1 && self.own == self.client {
            client
        } else {
            Timestamp::from_millisecond(own).unwrap_or(Timestamp::MAX)
        };
        Moment { own, client, speed: self.speed }
    }

    /// An instant of the own clock in the client's.
    #[must_use]
    pub fn client_time(&self, own: Timestamp) -> Timestamp {
        if self.speed == 1 && self.own == self.client {
            return own;
        }
        let millis = (own.as_millisecond() - self.own.as_millisecond()) / i64::from(self.speed);
        Timestamp::from_millisecond(self.client.as_millisecond().saturating_add(millis)).unwrap_or(own)
    }
}

impl Moment {
    /// Seconds that something stays good, for the client.
    #[must_use]
    pub fn lifetime(&self, own_secs: u32) -> u32 {
        (own_secs / self.speed).max(1)
    }

    /// Both clocks standing at the same instant.
    #[cfg(test)]
    #[must_use]
    pub fn plain(at: Timestamp) -> Self {
        Moment { own: at, client: at, speed: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_goes_on_after_a_restart_and_never_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = Clock::open(dir.path(), 1_000, at(100)).unwrap();
        assert_eq!(clock.at(at(103)).own, at(3_100));
        assert_eq!(clock.client_time(at(3_100)), at(103));
        let again = Clock::open(dir.path(), 1_000, at(104)).unwrap();
        assert_eq!(again.at(at(105)).own, at(5_100));
        let slow = Clock::open(dir.path(), 1, at(106)).unwrap();
        assert_eq!((slow.at(at(106)).own, slow.at(at(107)).own), (at(6_100), at(6_101)));
        assert_eq!(slow.client_time(at(6_101)), at(107));
    }

    #[test]
    fn a_plain_clock_leaves_no_trace_and_clients_hear_their_own_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_nanosecond(1_234_567_891).unwrap();
        assert_eq!(Clock::open(dir.path(), 1, Timestamp::UNIX_EPOCH).unwrap().at(now).own.as_second(), 1);
        assert_eq!(Clock::open(dir.path(), 1, now).unwrap().at(now).own, now);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let moment = Moment { own: now, client: now, speed: 1_000 };
        assert_eq!((moment.lifetime(2_160), moment.lifetime(5)), (2, 1));
    }
}
