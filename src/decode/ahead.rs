//! Unpacks a text while what was unpacked before is read.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::text::TextFile;

/// Bytes that are unpacked at once, and how many of these may wait to be read.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;

impl<'a> TextFile<'a> {
    /// Does some work with the file. Where it was packed, a thread of its own unpacks it meanwhile.
    pub fn unpacked_ahead<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if !self.is_packed() {
            return work(self);
        }
        thread::scope(|threads| {
            let (out, pieces) = sync_channel(PIECES);
            let mut source = self.replace_source(Box::new(io::empty()));
            threads.spawn(move || unpack(&mut source, &out));
            self.replace_source(Box::new(Pieces { pieces, piece: io::Cursor::default() }));
            let done = catch_unwind(AssertUnwindSafe(|| work(self)));
            // Nobody listens any more: the thread ends, wherever it is.
            self.replace_source(Box::new(io::empty()));
            done.unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

fn unpack(source: &mut impl Read, out: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = source.take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let ends = read.as_ref().map_or(true, |read| *read == 0);
        // What came before a failure is read before it is told.
        if (!piece.is_empty() && out.send(Ok(piece)).is_err()) || ends {
            if let Err(cause) = read {
                // Where nobody listens, nobody wants to know.
                let _unheard = out.send(Err(cause));
            }
            return;
        }
    }
}

/// What a thread has unpacked.
struct Pieces {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.pieces.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                // The thread is done.
                Err(_) => return Ok(0),
            }
        }
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
            let (out, pieces) = sync_channel(PIECES);
            threads.spawn(move || unpack(&mut source, &out));
            let mut bytes = Vec::new();
            let read = Pieces { pieces, piece: io::Cursor::default() }.read_to_end(&mut bytes);
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
            let (out, pieces) = sync_channel(PIECES);
            threads.spawn(move || unpack(&mut io::repeat(1), &out));
            let mut first = [0; 3];
            Pieces { pieces, piece: io::Cursor::default() }.read_exact(&mut first).unwrap();
            assert_eq!(first, [1; 3]);
        });
    }
}
