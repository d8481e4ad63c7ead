//! The process's pool of worker threads.

use std::error::Error as _;
use std::sync::OnceLock;

use rayon::ThreadPoolBuilder;

use crate::Error;

/// Threads of the pool that this thread's parallel loops use, which is started unless it is there.
///
/// # Errors
/// Those of [`start`].
pub(crate) fn threads() -> Result<usize, Error> {
    start()?;
    Ok(rayon::current_num_threads())
}

/// Starts the pool that this thread's parallel loops use, unless it is there.
///
/// # Errors
/// [`Error::Threads`] where the system gives no threads: a parallel loop would panic.
pub(crate) fn start() -> Result<(), Error> {
    static FAILURE: OnceLock<Option<String>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let failure = FAILURE.get_or_init(|| {
        let error = ThreadPoolBuilder::new().build_global().err()?;
        // An error without a source says that the pool was there already.
        error.source().map(ToString::to_string)
    });
    match failure {
        None => Ok(()),
        Some(reason) => Err(Error::Threads { threads: 0, reason: reason.clone() }),
    }
}
