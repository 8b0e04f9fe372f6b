//! Unpacks a text while what was unpacked before is read.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::text::TextFile;

/// Bytes that are unpacked at once, and how many of these may wait to be read: as much as several threads type before the one
/// that unpacks has its turn again.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 12;

impl<'a> TextFile<'a> {
    /// Does some work with the file. Where it was packed, a thread of its own unpacks it meanwhile.
    pub fn unpacked_ahead<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if !self.is_packed() {
            return work(self);
        }
        thread::scope(|threads| {
            let (out, spent, pieces) = pieces();
            let mut source = self.replace_source(Box::new(io::empty()));
            threads.spawn(move || unpack(&mut source, &out, &spent));
            self.replace_source(Box::new(pieces));
            let done = catch_unwind(AssertUnwindSafe(|| work(self)));
            // Nobody listens any more: the thread ends, wherever it is.
            self.replace_source(Box::new(io::empty()));
            done.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

/// Memory, and how much of it is text.
type Piece = (Vec<u8>, usize);

/// What a thread has unpacked.
struct Pieces {
    pieces: Receiver<io::Result<Piece>>,
    /// Takes the memory of a piece back.
    spent: Sender<Vec<u8>>,
    piece: Piece,
    /// So much of the piece was read.
    read: usize,
}

fn pieces() -> (SyncSender<io::Result<Piece>>, Receiver<Vec<u8>>, Pieces) {
    let (out, pieces) = sync_channel(PIECES);
    let (spent, empty) = channel();
    (out, empty, Pieces { pieces, spent, piece: Piece::default(), read: 0 })
}

fn unpack(source: &mut impl Read, out: &SyncSender<io::Result<Piece>>, spent: &Receiver<Vec<u8>>) {
    loop {
        let mut piece = spent.try_recv().unwrap_or_else(|_| vec![0; PIECE_BYTES]);
        let (mut filled, mut end) = (0, None);
        while filled < piece.len() && end.is_none() {
            match source.read(&mut piece[filled..]) {
                Ok(0) => end = Some(Ok(())),
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => end = Some(Err(cause)),
            }
        }
        // What came before a failure is read before it is told.
        if filled > 0 && out.send(Ok((piece, filled))).is_err() {
            return;
        }
        if let Some(end) = end {
            // Where nobody listens, nobody wants to know.
            let _unheard = end.map_err(|cause| out.send(Err(cause)));
            return;
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.1 {
            // The thread is done.
            let Ok(next) = self.pieces.recv() else { return Ok(0) };
            let (memory, _) = std::mem::replace(&mut self.piece, next?);
            self.read = 0;
            if !memory.is_empty() {
                // The thread may be done.
                let _unheard = self.spent.send(memory);
            }
        }
        let read = (&self.piece.0[self.read..self.piece.1]).read(into)?;
        self.read += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives some bytes, then fails.
    struct Failing(usize);

    impl Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("on purpose"));
            }
            let read = into.len().min(self.0);
            into[..read].fill(7);
            self.0 -= read;
            Ok(read)
        }
    }

    fn read_all(mut source: impl Read + Send) -> (Vec<u8>, io::Result<usize>) {
        thread::scope(|threads| {
            let (out, spent, mut pieces) = pieces();
            threads.spawn(move || unpack(&mut source, &out, &spent));
            let mut bytes = Vec::new();
            let read = pieces.read_to_end(&mut bytes);
            (bytes, read)
        })
    }

    #[test]
    fn all_bytes_arrive_and_so_does_a_failure_behind_them() {
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|byte| byte as u8).collect();
        assert_eq!(read_all(bytes.as_slice()).0, bytes);
        assert_eq!(read_all(io::empty()).1.unwrap(), 0);
        let (read, failure) = read_all(Failing(PIECE_BYTES + 9));
        assert_eq!(
            (read.len(), failure.unwrap_err().to_string()),
            (PIECE_BYTES + 9, "on purpose".to_owned())
        );
    }

    #[test]
    fn who_stops_listening_waits_for_nobody() {
        thread::scope(|threads| {
            let (out, spent, mut pieces) = pieces();
            threads.spawn(move || unpack(&mut io::repeat(1), &out, &spent));
            let mut first = [0; 3];
            pieces.read_exact(&mut first).unwrap();
            assert_eq!(first, [1; 3]);
        });
    }
}
