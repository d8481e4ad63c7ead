//! Threads that go through the stages of a product together.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

/// Looks at a stage's end before a thread offers its core to others: some microseconds.
const SPINS: usize = 4096;

/// Pieces of work that may run in any order, all of them after those of the stage before.
pub(super) struct Stage<'a> {
    count: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// The first piece that nobody has taken.
    next: OwnLines,
    done: OwnLines,
}

/// A counter whose writers disturb no reader of its neighbours.
#[repr(align(128))]
struct OwnLines(AtomicUsize);

impl<'a> Stage<'a> {
    pub fn new(count: usize, work: &'a (dyn Fn(usize) + Sync)) -> Self {
        Stage { count, work, next: OwnLines(AtomicUsize::new(0)), done: OwnLines(AtomicUsize::new(0)) }
    }

    /// Does what nobody else does, then waits for the others.
    ///
    /// Only pieces that somebody is at are waited for, so a thread that comes late, or never, keeps nobody.
    fn take_part(&self, threads: usize) {
        while let Some(pieces) = self.take(threads) {
            for index in pieces {
                let _done = Done(&self.done.0);
                (self.work)(index);
            }
        }
        wait_until(|| self.done.0.load(Ordering::Acquire) == self.count);
    }

    /// Takes some pieces, fewer and fewer: neighbours, which are one stream of memory, as long as much is left, and the
    /// last ones singly, so that all end at the same time.
    fn take(&self, threads: usize) -> Option<Range<usize>> {
        let share = |left: usize| (left / (2 * threads)).max(1);
        let after = |first: usize| (first < self.count).then(|| first + share(self.count - first));
        let first = self.next.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).ok()?;
        Some(first..first + share(self.count - first))
    }
}

/// Looks until something holds, which is a matter of microseconds where no thread has lost its core.
fn wait_until(holds: impl Fn() -> bool) {
    let mut looks = 0_usize;
    while !holds() {
        looks += 1;
        if looks < SPINS { spin_loop() } else { yield_now() }
    }
}

/// Counts a piece, also one that panicked: nobody waits for it, and the panic goes on to the caller.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Runs stages on so many threads of the current pool. They are woken once, not once a stage, and nothing is allocated.
pub(super) fn run(threads: usize, stages: &[Stage<'_>]) {
    fork(threads, &|| stages.iter().for_each(|stage| stage.take_part(threads)));
}

/// Runs the same on so many threads, if they are free.
///
/// A thread that waits in `join` begins other tasks of the pool meanwhile, on its own stack. So it first waits here for
/// the other half, if that has begun, and `join` finds nothing to wait for.
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
                let _ended = Done(&ended);
                fork(threads - threads / 2, work);
            },
        );
    } else {
        work();
    }
}
