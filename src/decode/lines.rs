//! Physical line numbers.

/// The line on which the next byte stands. LF, CRLF and a lone CR end a line, inside quotes too.
#[derive(Debug)]
pub(super) struct Lines {
    line: u64,
    after_cr: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Lines { line: 1, after_cr: false }
    }

    /// 1-based.
    pub(super) fn current(&self) -> u64 {
        self.line
    }

    /// Moves past so many bytes, of which none ends a line.
    #[inline]
    pub(super) fn pass_in_line(&mut self, bytes: usize) {
        self.after_cr &= bytes == 0;
    }

    /// Moves past `bytes`.
    #[inline]
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let Some(&last) = bytes.last() else { return };
        for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
            let after_cr = if at == 0 { self.after_cr } else { bytes[at - 1] == b'\r' };
            // The LF of a CRLF belongs to the line end that its CR has counted.
            if bytes[at] == b'\r' || !after_cr {
                self.line += 1;
            }
        }
        self.after_cr = last == b'\r';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_counts_once_however_the_text_is_cut() {
        let text = b"a\nb\r\nc\rd\r\r\n\n\re";
        for cut in 0..=text.len() {
            let mut lines = Lines::new();
            lines.pass(&text[..cut]);
            lines.pass_in_line(0);
            lines.pass(&text[cut..]);
            assert_eq!(lines.current(), 8, "cut at {cut}");
        }
    }
}
