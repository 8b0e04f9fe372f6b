//! Questions to a person on a terminal.

use std::io::BufRead;

use super::say;
use crate::error::{Error, Kind, Result};

/// Asks on standard error until an answer is taken. An empty line takes what is proposed.
///
/// # Errors
/// [`Kind::Interrupted`] when the input ends.
pub fn ask(
    input: &mut impl BufRead,
    question: &str,
    proposal: Option<&str>,
    mut take: impl FnMut(&str) -> Result<()>,
) -> Result<()> {
    loop {
        match proposal {
            Some(proposal) => say(&format!("{question} [{proposal}]: ")),
            None => say(&format!("{question}: ")),
        }
        let mut line = String::new();
        // What is not text is no answer either.
        let read = input.read_line(&mut line).unwrap_or_default();
        if read == 0 {
            say("\n");
            return Err(Error::new(Kind::Interrupted, "the input ended before the question was answered")
                .with("question", question)
                .hint("Nothing was written. Every answer has a flag, see --help."));
        }
        let answer = match (line.trim(), proposal) {
            ("", None) => continue,
            ("", Some(proposal)) => proposal,
            (answer, _) => answer,
        };
        match take(answer) {
            Ok(()) => return Ok(()),
            Err(error) => say(&format!("{error:#}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(mut input: &[u8], proposal: Option<&str>) -> Result<String> {
        let mut taken = String::new();
        ask(&mut input, "Number", proposal, |answer| {
            let number: Result<u32> = answer.parse().map_err(|_| Error::new(Kind::Usage, "no number"));
            taken = number?.to_string();
            Ok(())
        })?;
        Ok(taken)
    }

    #[test]
    fn a_question_is_asked_until_it_is_answered() {
        assert_eq!(answered(b"7\n8\n", None).unwrap(), "7");
        assert_eq!(answered(b"\nseven\n 7 \r\n", None).unwrap(), "7");
        assert_eq!(answered(b"\n", Some("9")).unwrap(), "9");
        assert_eq!(answered(b"7", Some("9")).unwrap(), "7");
        for ended in [&b""[..], b"seven\n", b"\xff\n"] {
            assert_eq!(answered(ended, Some("9")).unwrap_err().kind(), Kind::Interrupted);
        }
    }
}
