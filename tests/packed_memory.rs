//! A packed product allocates nothing, on any number of threads.

#![cfg(feature = "safetensors")]

mod common;
#[path = "packed/setup.rs"]
mod setup;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use armor_core::PackedFactorization;
use ndarray::Array2;
use setup::{PRECISIONS, Shape, apply, inputs};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_product_on_a_thread_of_the_pool_allocates_nothing() {
    // Large enough for other threads to be woken.
    let shape = Shape::new(1040, 1024, 80, 64);
    let factors = shape.factors(1, false);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for precision in PRECISIONS {
            let packed = PackedFactorization::new(&factors, precision).expect("fits");
            for batch in [1, 4, 32, 67, 130] {
                let mut x = inputs(batch, shape.cols, 2);
                x[[0, 3]] = f32::INFINITY;
                let expected = apply(&packed, &x);
                let (mut y, mut scratch) = (Array2::zeros((batch, shape.rows)), vec![0.0; packed.scratch_len(batch)]);
                let count = pool.install(|| {
                    // What the pool's own threads take for their first job.
                    packed.apply_batch_into(x.view(), y.view_mut(), &mut scratch).expect("fits");
                    let before = ALLOCATIONS.load(Ordering::Relaxed);
                    packed.apply_batch_into(x.view(), y.view_mut(), &mut scratch).expect("fits");
                    ALLOCATIONS.load(Ordering::Relaxed) - before
                });
                assert_eq!(count, 0, "{threads} threads, {precision}, batch {batch}");
                assert!(y.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}
