//! Handles in the hands of eight threads, and messages that stay with their thread.

use std::ffi::CStr;
use std::ptr;
use std::thread;

use armor_core::ffi::*;

use crate::setup::*;

#[test]
fn eight_threads_read_one_factorisation() {
    let small = Small::new();
    let factorization = small.in_c();
    let expected = reconstruction(&factorization);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..repeats(20) {
                    assert_eq!(reconstruction(&factorization), expected);
                }
            });
        }
    });
}

#[test]
fn eight_threads_factorise_with_the_same_options() {
    let small = Small::new();
    let options = small_options();
    let expected = reconstruction(&small.in_c());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (options, expected) = (&options, &expected);
            scope.spawn(move || {
                let mine = Small::new();
                let factorization = factorized(&mine.matrix(), &mine.hessian(), options.pointer);
                assert_eq!(reconstruction(&factorization), *expected);
            });
        }
    });
}

#[test]
fn eight_threads_set_and_read_the_same_options() {
    let small = Small::new();
    let options = small_options();
    // Every iteration of this method draws.
    // SAFETY: the handle is alive.
    assert_ok(unsafe { armor_options_set_method(options.pointer, ARMOR_METHOD_PAPER) });
    let runs: Vec<Vec<u32>> = [1, 2]
        .map(|seed| {
            // SAFETY: the handle is alive.
            assert_ok(unsafe { armor_options_set_seed(options.pointer, seed) });
            reconstruction(&factorized(&small.matrix(), &small.hessian(), options.pointer))
        })
        .into();
    assert_ne!(runs[0], runs[1]);
    thread::scope(|scope| {
        for seed in [1, 2].into_iter().cycle().take(THREADS) {
            let (options, runs) = (&options, &runs);
            scope.spawn(move || {
                let mine = Small::new();
                for _ in 0..repeats(10) {
                    // SAFETY: the handle is alive, and any thread may set it.
                    assert_ok(unsafe { armor_options_set_seed(options.pointer, seed) });
                    let run = reconstruction(&factorized(&mine.matrix(), &mine.hessian(), options.pointer));
                    assert!(runs.contains(&run), "a run keeps one seed or the other");
                }
            });
        }
    });
}

#[test]
fn every_thread_has_its_own_message() {
    thread::scope(|scope| {
        for method in 10..18 {
            scope.spawn(move || {
                let options = small_options();
                assert_eq!(last_message(), "", "nothing has failed on this thread");
                for _ in 0..repeats(100) {
                    // SAFETY: the handle is alive.
                    let status = unsafe { armor_options_set_method(options.pointer, method) };
                    let message = format!("method: {method} is not a method, expected 1 to 3");
                    assert_refused(status, ARMOR_UNKNOWN_VALUE, &message);
                    // SAFETY: as above; a success leaves the message alone.
                    assert_ok(unsafe { armor_options_set_seed(options.pointer, 1) });
                    assert_eq!(last_message(), message);
                }
            });
        }
    });
}

#[test]
fn versions_and_messages_can_be_told() {
    let text = |pointer| {
        assert!(!ptr::eq(pointer, ptr::null()));
        // SAFETY: texts of the library live as long as it does.
        unsafe { CStr::from_ptr(pointer) }.to_str().expect("UTF-8")
    };
    assert_eq!(text(armor_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(armor_abi_version(), ARMOR_ABI_VERSION);
    let statuses = (ARMOR_OK..=ARMOR_MEMORY_LIMIT).chain(ARMOR_FILE..=ARMOR_NO_SUCH_LAYER).chain([ARMOR_PANIC]);
    let mut messages: Vec<&str> = statuses.map(|status| text(armor_status_message(status))).collect();
    let count = messages.len();
    messages.sort_unstable();
    messages.dedup();
    assert_eq!(messages.len(), count, "every status has words of its own");
    assert!(!messages.contains(&"unknown status"));
    for status in [ARMOR_MEMORY_LIMIT + 1, ARMOR_FILE - 1, ARMOR_NO_SUCH_LAYER + 1, 254, u32::MAX] {
        assert_eq!(text(armor_status_message(status)), "unknown status");
    }
}
