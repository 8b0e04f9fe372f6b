//! Raw batches are typed on all cores, and are taken in the order of the file.
//!
//! ```text
//!  read -> batch 0, 1, 2 ... -> as many threads as cores, each with a normaliser of its own -> back in order -> take
//! ```
//!
//! Memory is bounded by permits: the reader needs one for each batch, and gets it back when the batch was taken.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::model::{FaultCode, Normalised, RawBatch};
use crate::normalise::{Normaliser, Survey};

/// Batches under way beside those that are being typed: one that is read, and one that is taken.
const AHEAD: usize = 2;

/// Lets a survey see all rows of the text.
pub(super) type Look<'a> = &'a mut (dyn FnMut(&mut Survey) -> Result<()> + Send);

/// A typed batch, with the rows that were read for it.
type Typed = (u64, Normalised);

/// Types all batches that `read` gives, and hands them to `take` with the number of rows that were read for each. Gives
/// back what was found out on the way.
///
/// # Errors
/// The first of reading, then of what came first of typing and taking; [`Kind::Bug`] when a thread panics.
pub(super) fn type_all(
    read: impl FnMut() -> Result<Option<RawBatch>> + Send,
    normaliser: impl Fn() -> Normaliser + Sync,
    look: Option<Look<'_>>,
    take: impl FnMut(u64, Normalised) -> Result<()>,
) -> Result<Vec<String>> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let orders = Orders(Mutex::new(Decision { look, survey: None, notes: Vec::new() }));
    let (raw_out, raw_in) = sync_channel(threads);
    let raw_in = Mutex::new(raw_in);
    let (permit_out, permit_in) = sync_channel(threads + AHEAD);
    for _ in 0..threads + AHEAD {
        // There is room for all of them.
        let _sent = permit_out.send(());
    }
    let taken = thread::scope(|scope| {
        let (typed_out, typed_in) = sync_channel(threads);
        let reading = scope.spawn(move || read_all(read, &permit_in, &raw_out));
        for _ in 0..threads {
            let (raw_in, orders, out, normaliser) = (&raw_in, &orders, typed_out.clone(), &normaliser);
            scope.spawn(move || type_some(raw_in, &mut normaliser(), orders, &out));
        }
        drop(typed_out);
        let taken = take_all(typed_in, permit_out, take);
        // Where a later stage failed, the reader ended with its permits; what it found itself comes first.
        reading.join().map_err(|_| panicked("decode"))??;
        taken
    });
    taken.map(|()| orders.0.into_inner().unwrap_or_else(PoisonError::into_inner).notes)
}

fn read_all(
    mut read: impl FnMut() -> Result<Option<RawBatch>>,
    permits: &Receiver<()>,
    out: &SyncSender<(u64, RawBatch)>,
) -> Result<()> {
    let mut number = 0;
    while permits.recv().is_ok() {
        let Some(batch) = read()? else { break };
        if out.send((number, batch)).is_err() {
            break;
        }
        number += 1;
    }
    Ok(())
}

fn type_some(
    raw: &Mutex<Receiver<(u64, RawBatch)>>,
    normaliser: &mut Normaliser,
    orders: &Orders<'_>,
    out: &SyncSender<(u64, Result<Typed>)>,
) {
    loop {
        let next = lock(raw).recv();
        let Ok((number, batch)) = next else { return };
        // The others wait for this batch: they must hear of a panic.
        let typed = catch_unwind(AssertUnwindSafe(|| orders.typed(normaliser, &batch)));
        let typed = typed.unwrap_or_else(|_| Err(panicked("normalise")));
        let failed = typed.is_err();
        let typed = typed.map(|rows| (batch.rows() as u64, rows));
        if out.send((number, typed)).is_err() || failed {
            return;
        }
    }
}

fn take_all(
    typed: Receiver<(u64, Result<Typed>)>,
    permits: SyncSender<()>,
    mut take: impl FnMut(u64, Normalised) -> Result<()>,
) -> Result<()> {
    let (mut early, mut next) = (BTreeMap::new(), 0);
    for (number, batch) in typed {
        early.insert(number, batch?);
        while let Some((read, rows)) = early.remove(&next) {
            take(read, rows)?;
            next += 1;
            // The reader may be at the end of the text.
            let _ended = permits.send(());
        }
    }
    Ok(())
}

/// In which order the text writes month and day: looked for once, when the first slashed date is met.
struct Orders<'a>(Mutex<Decision<'a>>);

struct Decision<'a> {
    look: Option<Look<'a>>,
    survey: Option<Survey>,
    notes: Vec<String>,
}

impl Orders<'_> {
    fn typed(&self, normaliser: &mut Normaliser, batch: &RawBatch) -> Result<Normalised> {
        let typed = normaliser.normalise(batch);
        // No row with a slashed date has gone on yet, so the whole file is read by what is found now.
        let gone = typed.quarantined.iter().chain(&typed.discarded).map(|row| row.fault.code);
        let mut codes = gone.chain(typed.nulled.iter().map(|cell| cell.code));
        if !codes.any(|code| code == FaultCode::AmbiguousDate) || !self.decide(normaliser)? {
            return Ok(typed);
        }
        Ok(normaliser.normalise(batch))
    }

    /// False when a person has decided, or what the text proves is known to this normaliser already.
    fn decide(&self, normaliser: &mut Normaliser) -> Result<bool> {
        if normaliser.is_decided() {
            return Ok(false);
        }
        let decision = &mut *lock(&self.0);
        let survey = match (&mut decision.survey, &mut decision.look) {
            (_, None) => return Ok(false),
            (Some(survey), _) => survey,
            (None, Some(look)) => {
                let mut survey = normaliser.survey();
                look(&mut survey)?;
                decision.survey.insert(survey)
            }
        };
        decision.notes = normaliser.decide(survey);
        Ok(true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panicked(stage: &str) -> Error {
    Error::new(Kind::Bug, format!("the {stage} stage stopped unexpectedly"))
        .hint("nothing was committed; please report it with the receipt of this run")
}
