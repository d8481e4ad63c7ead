//! The process's pool of worker threads.

use std::error::Error as _;
use std::process;
use std::sync::OnceLock;

use rayon::ThreadPoolBuilder;

use crate::error::Error;

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
/// [`Error::Threads`] where the system gives no threads: a parallel loop would panic; and in a child of `fork` whose
/// parent has started the pool: its threads are not there, and a parallel loop would wait for ever.
pub(crate) fn start() -> Result<(), Error> {
    static STARTED: OnceLock<(u32, Option<String>)> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    let (starter, failure) = STARTED.get_or_init(|| {
        // An error without a source says that the pool was there already.
        let failure = ThreadPoolBuilder::new().build_global().err();
        (process::id(), failure.and_then(|error| error.source().map(ToString::to_string)))
    });
    let reason = match failure {
        Some(reason) => reason.clone(),
        None if *starter != process::id() => "this process was forked from the one that has them".to_owned(),
        None => return Ok(()),
    };
    Err(Error::Threads { threads: 0, reason })
}
