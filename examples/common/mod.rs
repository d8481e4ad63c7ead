//! What the examples share: the layer they read, and how they show and write results.

pub mod arguments;
pub mod files;
pub mod heldout;
pub mod input;
pub mod progress;
pub mod ticks;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Says on stderr what went wrong, if anything did.
pub fn exit_code(result: Result<()>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
