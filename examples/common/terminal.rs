//! What a program says on the terminal: never a panic where the reader has left, never a character that a name smuggles in.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Prints a line. A reader that has left, such as `head`, is no error: the work goes on and its files are written.
pub fn say(line: impl Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A name from a file, with escapes for control characters, which a terminal would obey.
pub fn plain(name: &str) -> String {
    name.chars().map(|char| if char.is_control() { char.escape_default().to_string() } else { char.into() }).collect()
}

/// Says on stderr what went wrong, if anything did.
pub fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads that either, the exit code still tells.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
