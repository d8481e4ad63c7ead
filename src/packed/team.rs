//! Threads that go through the stages of a product together.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

/// Looks at a stage's end before a thread offers its core to others: some microseconds.
const SPINS: usize = 4096;

/// Pieces of work that may run in any order, all of them after those of the stage before.
pub(super) struct Stage<'a> {
    count: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// The next piece that nobody has taken.
    next: AtomicUsize,
    done: AtomicUsize,
}

impl<'a> Stage<'a> {
    pub fn new(count: usize, work: &'a (dyn Fn(usize) + Sync)) -> Self {
        Stage { count, work, next: AtomicUsize::new(0), done: AtomicUsize::new(0) }
    }

    /// Does what nobody else does, then waits for the others.
    ///
    /// Only pieces that somebody is at are waited for, so a thread that comes late, or never, keeps nobody.
    fn take_part(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.count {
                break;
            }
            let _done = Done(&self.done);
            (self.work)(index);
        }
        let mut looks = 0_usize;
        while self.done.load(Ordering::Acquire) < self.count {
            looks += 1;
            if looks < SPINS { spin_loop() } else { yield_now() }
        }
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
    if threads > 1 {
        rayon::join(|| run(threads / 2, stages), || run(threads - threads / 2, stages));
    } else {
        stages.iter().for_each(Stage::take_part);
    }
}
