//! Raw batches are typed on all cores, and are taken in the order of the file.
//!
//! ```text
//!  as many threads as cores, each with a normaliser of its own:  read batch 0, 1, 2 ... -> type -> back in order -> take
//! ```
//!
//! A thread types what it has read itself, so that the bytes stay in the cache of one core; while one reads, the others type.
//! Memory is bounded by permits: each batch needs one to be read, and gives it back when it was taken.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::{Error, Kind, Result};
use crate::model::{FaultCode, Memory, Normalised, RawBatch};
use crate::normalise::{Normaliser, Survey};

/// Batches under way beside those that are being read or typed: one that is taken, and one that waits.
const AHEAD: usize = 2;

/// Lets a survey see all rows of the text.
pub(super) type Look<'a> = &'a mut (dyn FnMut(&mut Survey) -> Result<()> + Send);

/// What `count` said of a batch, and the rows that were made of it.
type Typed<C> = (C, Normalised);

/// What is done with each batch on the way.
pub(super) struct Work<R, C, N> {
    pub threads: usize,
    /// Gives the batches, each in the memory of one that is spent.
    pub read: R,
    /// Looks at a batch before it is typed.
    pub count: C,
    /// Makes a normaliser for each thread.
    pub normaliser: N,
}

/// Types all batches, on the threads of the work, and hands them to `take` with what was counted of each. Gives back what was found out on the way.
///
/// # Errors
/// The first of reading, then of what came first of typing and taking; [`Kind::Bug`] when a thread panics.
pub(super) fn type_all<T: Send>(
    work: Work<
        impl FnMut(RawBatch) -> Result<Option<RawBatch>> + Send,
        impl Fn(&mut RawBatch) -> T + Sync,
        impl Fn() -> Normaliser + Sync,
    >,
    look: Option<Look<'_>>,
    take: impl FnMut(T, Normalised) -> Result<()>,
) -> Result<Vec<String>> {
    type_on(work.threads, work, look, take)
}

/// How many threads type batches in so much memory.
pub(super) fn threads(memory: Memory) -> usize {
    memory.threads(thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// How many batches are under way at once on so many threads.
pub(super) fn batches(threads: usize) -> usize {
    threads + AHEAD
}

fn type_on<T: Send>(
    threads: usize,
    work: Work<
        impl FnMut(RawBatch) -> Result<Option<RawBatch>> + Send,
        impl Fn(&mut RawBatch) -> T + Sync,
        impl Fn() -> Normaliser + Sync,
    >,
    look: Option<Look<'_>>,
    take: impl FnMut(T, Normalised) -> Result<()>,
) -> Result<Vec<String>> {
    let Work { read, count, normaliser, .. } = work;
    let orders = Orders(Mutex::new(Decision { look, survey: None, notes: Vec::new() }));
    // Room for every permit: nobody waits for a thread that has ended.
    let (permit_out, permits) = sync_channel(threads + AHEAD);
    for _ in 0..threads + AHEAD {
        // There is room for all of them.
        let _sent = permit_out.send(());
    }
    let reading = Mutex::new(Reading { read: Some(read), permits, next: 0, failed: None });
    let taken = thread::scope(|scope| {
        let (typed_out, typed_in) = sync_channel(threads + AHEAD);
        for _ in 0..threads {
            let (reading, count, orders, out) = (&reading, &count, &orders, typed_out.clone());
            let normaliser = &normaliser;
            scope.spawn(move || type_some(reading, count, &mut normaliser(), orders, &out));
        }
        drop(typed_out);
        take_all(typed_in, permit_out, take)
    });
    // What reading found comes before what a later stage did with the batches before.
    if let Some(error) = reading.into_inner().unwrap_or_else(PoisonError::into_inner).failed {
        return Err(error);
    }
    taken.map(|()| orders.0.into_inner().unwrap_or_else(PoisonError::into_inner).notes)
}

/// The text, which one thread reads at a time.
struct Reading<R> {
    /// `None` at the end.
    read: Option<R>,
    permits: Receiver<()>,
    next: u64,
    failed: Option<Error>,
}

impl<R: FnMut(RawBatch) -> Result<Option<RawBatch>>> Reading<R> {
    /// The next batch, with its number. `None` where nothing more is to be read.
    fn next(&mut self, spent: RawBatch) -> Option<(u64, RawBatch)> {
        // Without a permit a later stage has failed.
        let read = self.read.as_mut().filter(|_| self.permits.recv().is_ok());
        let batch = read.map(|read| catch_unwind(AssertUnwindSafe(|| read(spent))));
        match batch.unwrap_or(Ok(Ok(None))).unwrap_or_else(|_| Err(panicked("decode"))) {
            Ok(Some(batch)) => {
                self.next += 1;
                return Some((self.next - 1, batch));
            }
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
        self.read = None;
        None
    }
}

fn type_some<T>(
    reading: &Mutex<Reading<impl FnMut(RawBatch) -> Result<Option<RawBatch>>>>,
    count: &impl Fn(&mut RawBatch) -> T,
    normaliser: &mut Normaliser,
    orders: &Orders<'_>,
    out: &SyncSender<(u64, Result<Typed<T>>)>,
) {
    let mut spent = RawBatch::new();
    loop {
        let next = lock(reading).next(std::mem::take(&mut spent));
        let Some((number, mut batch)) = next else { return };
        // The others wait for this batch: they must hear of a panic.
        let counted = catch_unwind(AssertUnwindSafe(|| count(&mut batch))).map_err(|_| panicked("decode"));
        let typed = counted.and_then(|counted| {
            let typed = catch_unwind(AssertUnwindSafe(|| orders.typed(normaliser, &batch)));
            Ok((counted, typed.unwrap_or_else(|_| Err(panicked("normalise")))?))
        });
        spent = batch;
        let failed = typed.is_err();
        if out.send((number, typed)).is_err() || failed {
            return;
        }
    }
}

fn take_all<T>(
    typed: Receiver<(u64, Result<Typed<T>>)>,
    permits: SyncSender<()>,
    mut take: impl FnMut(T, Normalised) -> Result<()>,
) -> Result<()> {
    let (mut early, mut next) = (BTreeMap::new(), 0);
    for (number, batch) in typed {
        early.insert(number, batch?);
        while let Some((counted, rows)) = early.remove(&next) {
            take(counted, rows)?;
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jiff::Timestamp;

    use super::*;
    use crate::model::RunId;
    use crate::normalise::Origin;
    use crate::schema::Registry;

    const HEADER: [&str; 9] = [
        "earningId",
        "participantId",
        "programName",
        "earningType",
        "earningAmount",
        "earningAmountUSD",
        "earningDate",
        "paymentStatus",
        "transactionCurrency",
    ];

    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::built_in().unwrap());

    fn normaliser() -> Normaliser {
        let dataset = REGISTRY.dataset("transaction_history").unwrap();
        let origin = Origin {
            run_id: RunId(uuid::Uuid::nil()),
            request_id: None,
            extracted_at: None,
            loaded_at: Timestamp::UNIX_EPOCH,
            source_file: "x.csv".to_owned(),
        };
        Normaliser::new(dataset, dataset.match_header(&HEADER).unwrap(), origin)
    }

    fn batch(number: u64, date: &str) -> RawBatch {
        let cells = ["e", "p", "n", "t", "1", "1", date, "s", "EUR"];
        let ends = cells.iter().scan(0, |end, cell| {
            *end += cell.len();
            Some(*end)
        });
        let mut batch = RawBatch::new();
        batch.push_row(number, cells.concat().as_bytes(), &ends.collect::<Vec<_>>());
        batch
    }

    /// Batches of one row, which stand on lines 0, 1, 2 ...
    fn batches(count: u64, date: &'static str) -> impl FnMut(RawBatch) -> Result<Option<RawBatch>> + Send {
        let mut next = 0;
        move |_| {
            next += 1;
            Ok((next <= count).then(|| batch(next - 1, date)))
        }
    }

    fn line(rows: &Normalised) -> u64 {
        use arrow::array::AsArray;
        use arrow::datatypes::Int64Type;
        let lines = rows.batch.column_by_name("_pc_source_line").unwrap().as_primitive::<Int64Type>();
        lines.value(0).unsigned_abs()
    }

    type CountRows = fn(&mut RawBatch) -> usize;

    /// What is done with batches of which only the rows count.
    fn work<R>(read: R) -> Work<R, CountRows, fn() -> Normaliser> {
        Work { threads: 1, read, count: |batch| batch.rows(), normaliser }
    }

    fn refused() -> Error {
        Error::new(Kind::Contract, "on purpose")
    }

    const DAY: &str = "2026-09-01";

    #[test]
    fn batches_come_back_in_order_on_any_number_of_threads() {
        for threads in 1..5 {
            let mut seen = Vec::new();
            let take = |read, rows: Normalised| {
                assert_eq!(read, 1);
                seen.push(line(&rows));
                Ok(())
            };
            type_on(threads, work(batches(100, DAY)), None, take).unwrap();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
    }

    /// Whatever fails, nobody waits for ever: there are more batches than permits.
    #[test]
    fn a_failure_anywhere_ends_all_threads() {
        for threads in 1..4 {
            let mut count = 0;
            let failing = |_| {
                count += 1;
                if count > 50 { Err(refused()) } else { Ok(Some(batch(count, DAY))) }
            };
            let fails = |done: Result<Vec<String>>, kind| assert_eq!(done.unwrap_err().kind(), kind);
            fails(type_on(threads, work(failing), None, |_, _| Ok(())), Kind::Contract);
            let take = |_, rows: Normalised| if line(&rows) == 20 { Err(refused()) } else { Ok(()) };
            fails(type_on(threads, work(batches(100, DAY)), None, take), Kind::Contract);
            let mut look = |_: &mut Survey| Err(refused());
            fails(
                type_on(threads, work(batches(100, "3/4/2026")), Some(&mut look), |_, _| Ok(())),
                Kind::Contract,
            );
            let mut look = |_: &mut Survey| panic!("on purpose");
            fails(
                type_on(threads, work(batches(100, "3/4/2026")), Some(&mut look), |_, _| Ok(())),
                Kind::Bug,
            );
            let mut broken = batches(100, DAY);
            let read = move |spent| match broken(spent) {
                Ok(Some(batch)) if batch.line(0) == 30 => panic!("on purpose"),
                other => other,
            };
            fails(type_on(threads, work(read), None, |_, _| Ok(())), Kind::Bug);
        }
    }
}
