//! Threads that go through the stages of a product together.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

/// Times that a thread tests for the end of a stage before it yields its core to other threads: some microseconds.
const SPINS: usize = 4096;

/// Pieces of work that may run in any order, all of them after those of the stage before.
pub(super) struct ProductStage<'a> {
    count: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// The first piece that no thread has taken.
    next: PaddedCounter,
    done: PaddedCounter,
}

/// A counter with cache lines of its own: writes to it do not slow down reads of its neighbours.
#[repr(align(128))]
struct PaddedCounter(AtomicUsize);

impl<'a> ProductStage<'a> {
    /// Makes a stage of `count` pieces; `work` gets the index of a piece.
    pub fn new(count: usize, work: &'a (dyn Fn(usize) + Sync)) -> Self {
        let counter = || PaddedCounter(AtomicUsize::new(0));
        ProductStage { count, work, next: counter(), done: counter() }
    }

    /// Does the pieces that no other thread takes, then waits for the others.
    ///
    /// A thread waits only for pieces that another thread has begun, so a thread that comes late, or never, delays no
    /// other.
    fn take_part(&self, threads: usize) {
        while let Some(pieces) = self.take(threads) {
            let _done = CountOnDrop { counter: &self.done.0, count: pieces.len() };
            pieces.for_each(self.work);
        }
        wait_until(|| self.done.0.load(Ordering::Acquire) == self.count);
    }

    /// Takes some consecutive pieces, which are one stream of memory: many as long as many are left, and the last ones
    /// one by one, so that all threads end at the same time.
    fn take(&self, threads: usize) -> Option<Range<usize>> {
        let share = |left: usize| (left / (2 * threads)).max(1);
        let after = |first: usize| (first < self.count).then(|| first + share(self.count - first));
        let first = self.next.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
        Some(first..first + share(self.count - first))
    }
}

/// Waits until a condition holds: some microseconds, unless a thread has lost its core.
fn wait_until(holds: impl Fn() -> bool) {
    let mut tests = 0_usize;
    while !holds() {
        tests += 1;
        if tests < SPINS { spin_loop() } else { yield_now() }
    }
}

/// Counts pieces when all of them are done, or when one of them panics: no thread waits for those that follow it, and the
/// panic goes on to the caller.
struct CountOnDrop<'a> {
    counter: &'a AtomicUsize,
    count: usize,
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        self.counter.fetch_add(self.count, Ordering::Release);
    }
}

/// Runs stages on `threads` threads of the current pool. The threads are woken once, not once for each stage, and nothing
/// is allocated.
pub(super) fn run(threads: usize, stages: &[ProductStage<'_>]) {
    fork(threads, &|| stages.iter().for_each(|stage| stage.take_part(threads)));
}

/// Runs `work` on up to `threads` threads of the current pool, those that are free.
///
/// A thread that waits in `join` begins other tasks of the pool on its own stack meanwhile. So the first half waits here
/// until the other half has ended, if that half has begun; then `join` does not wait.
fn fork(threads: usize, work: &(dyn Fn() + Sync)) {
    if threads > 1 {
        let [begun, ended] = [const { AtomicUsize::new(0) }; 2];
        rayon::join(
            || {
                fork(threads / 2, work);
                wait_until(|| ended.load(Ordering::Acquire) == begun.load(Ordering::Acquire));
            },
            || {
                begun.fetch_add(1, Ordering::AcqRel);
                let _ended = CountOnDrop { counter: &ended, count: 1 };
                fork(threads - threads / 2, work);
            },
        );
    } else {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;
    use std::sync::mpsc;
    use std::time::Duration;

    /// Runs two stages of many pieces on two threads, of which piece `bad` of stage `stage` panics.
    fn panics_at(stage: usize, bad: usize) -> bool {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
        let done = [const { AtomicUsize::new(0) }; 2];
        let work = |number: usize| {
            let done = &done;
            move |index: usize| {
                assert!((number, index) != (stage, bad), "piece {index} of stage {number}");
                done[number].fetch_add(1, Ordering::Relaxed);
            }
        };
        let (first, second) = (work(0), work(1));
        let run = || pool.install(|| run(2, &[ProductStage::new(64, &first), ProductStage::new(64, &second)]));
        catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    }

    #[test]
    fn a_piece_that_panics_leaves_no_thread_waiting() {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for stage in [0, 1] {
                for bad in [0, 1, 15, 16, 40, 63] {
                    let _ = sender.send((stage, bad, panics_at(stage, bad)));
                }
            }
        });
        for stage in [0, 1] {
            for bad in [0, 1, 15, 16, 40, 63] {
                // A thread that waits for pieces that nobody does would wait for ever.
                let ended = receiver.recv_timeout(Duration::from_secs(60));
                assert_eq!(ended, Ok((stage, bad, true)), "piece {bad} of stage {stage}");
            }
        }
    }
}
