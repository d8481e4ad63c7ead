//! The full objective keeps within the working memory that its option allows.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use armor_core::{Error, Layer, Objective, Options, factorize};
use common::coupled::{checked, full_hessian};
use common::weight;

/// Bytes that are allocated now, and the most there were.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes that a run has beside what was there before it.
fn peak(layer: &Layer<'_>, options: &Options) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    factorize(layer, options).expect("runs");
    PEAK.load(Ordering::Relaxed) - before
}

#[test]
fn the_memory_limit_holds() {
    // The working memory of products, which every thread keeps from its first one on, belongs to no run.
    let (w, h) = (weight(256, 128, 1), full_hessian(128, 64, 1));
    let small = Layer::new(&w, checked(&h)).expect("valid");
    for objective in [Objective::Diagonal, Objective::Full] {
        peak(&small, &Options::exact().block(4).iterations(20).objective(objective));
    }
    for (rows, cols, block) in [(512, 768, 32), (768, 512, 64), (256, 1024, 16)] {
        let (w, h) = (weight(rows, cols, 1), full_hessian(cols, 64, 1));
        let layer = Layer::new(&w, checked(&h)).expect("valid");
        let options = Options::exact().block(block).iterations(2);
        let separable = peak(&layer, &options);
        let full = options.objective(Objective::Full);
        let Err(Error::MemoryLimit { needed, .. }) = factorize(&layer, &full.clone().memory_limit(Some(1))) else {
            panic!("one byte is not enough");
        };
        for limit in [needed, needed + needed / 8, 2 * needed] {
            let coupled = peak(&layer, &full.clone().memory_limit(Some(limit)));
            assert!(coupled <= separable + limit, "{rows}x{cols}: {coupled} bytes, {separable} and {limit} allowed");
            assert!(coupled > needed / 2, "{rows}x{cols}: {needed} bytes are not needed, {coupled} were taken");
        }
    }
}
