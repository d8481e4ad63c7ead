//! Calls every export of the C ABI with arbitrary arguments, as far as its contract lets a caller go: pointers are
//! NULL, misaligned, overlapping or too long, but what they are said to hold is there.
//!
//! Whatever happens, a status is known, a failure has a message and leaves its result alone, and nothing panics.

#![no_main]

mod accumulator;
mod call;
mod damage;
mod folder;
mod handles;
mod job;
mod memory;
mod options;
mod packed;
mod pair_accumulator;
mod view;

use std::sync::Once;

use libfuzzer_sys::fuzz_target;

use call::Call;
use handles::Handles;
use memory::{Fill, Memory};

static POOL: Once = Once::new();

fuzz_target!(|input: (Fill, Vec<Call>)| {
    // Parallel loops run on this thread: waking another one takes longer than all else that a tiny layer does.
    POOL.call_once(|| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        pool.build_global().expect("the first pool of the process");
    });
    let (fill, calls) = input;
    let mut memory = Memory::new(&fill);
    let mut handles = Handles::new();
    for call in calls.into_iter().take(6) {
        call.run(&mut memory, &mut handles);
    }
});
