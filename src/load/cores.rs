//! Work on all cores.

use std::sync::Mutex;
use std::thread;

use crate::error::{Error, Kind, Result};

/// [`on_threads`], as many as there are cores.
pub(super) fn on_cores<T: Send, U: Send, S>(
    pieces: Vec<T>,
    tools: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    on_threads(cores, pieces, tools, work)
}

/// Does each piece of work on one of some threads, and gives what comes of it in the order of the pieces. `tools`: what a
/// thread needs for all of its pieces.
///
/// # Errors
/// One of those of the pieces; [`Kind::Bug`] when a thread panics.
pub(super) fn on_threads<T: Send, U: Send, S>(
    threads: usize,
    pieces: Vec<T>,
    tools: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let others = threads.min(pieces.len()).saturating_sub(1);
    let next = Mutex::new(pieces.into_iter().enumerate());
    let take = || next.lock().map_or_else(|broken| broken.into_inner().next(), |mut next| next.next());
    let some = || {
        let (mut tools, mut done) = (tools()?, Vec::new());
        while let Some((number, piece)) = take() {
            done.push((number, work(&mut tools, piece)?));
        }
        Ok::<_, Error>(done)
    };
    let mut done = thread::scope(|threads| {
        let others: Vec<_> = (0..others).map(|_| threads.spawn(some)).collect();
        let mut done = some()?;
        for other in others {
            let panicked = |_| Error::new(Kind::Bug, "a thread that writes files stopped unexpectedly");
            done.extend(other.join().map_err(panicked)??);
        }
        Ok::<_, Error>(done)
    })?;
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, done)| done).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_in_order_and_a_failure_is_told() {
        let twice = |_: &mut (), piece: u32| {
            if piece == 70 { Err(Error::new(Kind::Bug, "no")) } else { Ok(piece * 2) }
        };
        let done = on_cores((0..70).collect(), || Ok(()), twice).unwrap();
        assert_eq!(done, (0..70).map(|piece| piece * 2).collect::<Vec<_>>());
        assert!(on_cores((0..99).collect(), || Ok(()), twice).is_err());
        assert!(on_cores(Vec::new(), || Ok(()), twice).unwrap().is_empty());
    }
}
