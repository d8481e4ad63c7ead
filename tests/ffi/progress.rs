//! The progress function: what it sees, and that it can cancel.

use std::ffi::{c_int, c_void};
use std::ptr;

use armor_core::ffi::*;

use crate::setup::*;

/// What a run told, and after which iteration it is to be cancelled.
struct Seen {
    progress: Vec<RunProgress>,
    cancel_at: usize,
}

unsafe extern "C" fn watch(progress: *const RunProgress, user: *mut c_void) -> c_int {
    // SAFETY: the test hands a `Seen` of its own to the run that calls this.
    let (progress, seen) = unsafe { (*progress, &mut *user.cast::<Seen>()) };
    seen.progress.push(progress);
    // Any number but zero cancels.
    if progress.iteration == seen.cancel_at { -7 } else { 0 }
}

/// Iterations of a run that is watched.
const WATCHED: usize = if cfg!(miri) { 2 } else { 4 };

fn watched_options() -> Owned<OptionsHandle> {
    let options = small_options();
    // SAFETY: the handle is alive.
    unsafe { assert_ok(armor_options_set_iterations(options.pointer, WATCHED)) };
    options
}

fn run(options: &Owned<OptionsHandle>, cancel_at: usize) -> (Owned<FactorizationHandle>, Vec<RunProgress>) {
    let small = Small::new();
    let mut seen = Seen { progress: Vec::new(), cancel_at };
    let mut out = ptr::null_mut();
    let user = (&raw mut seen).cast();
    // SAFETY: all of it lives through the call.
    let status =
        unsafe { armor_factorize(&small.matrix(), &small.hessian(), options.pointer, Some(watch), user, &mut out) };
    assert_ok(status);
    (own(out), seen.progress)
}

fn report(factorization: &Owned<FactorizationHandle>) -> RunReport {
    // SAFETY: numbers, for which zero is a value.
    let mut report: RunReport = unsafe { std::mem::zeroed() };
    report.struct_size = size_of::<RunReport>();
    // SAFETY: the handle is alive and the report a local.
    assert_ok(unsafe { armor_factorization_get_report(factorization.pointer, &mut report) });
    report
}

#[test]
fn it_sees_every_iteration() {
    // Miri's threads take turns, and two that wait for each other take long.
    let pools: &[usize] = if cfg!(miri) { &[0] } else { &[0, 2] };
    for &threads in pools {
        let options = watched_options();
        // SAFETY: the handle is alive.
        unsafe { assert_ok(armor_options_set_threads(options.pointer, threads)) };
        let (factorization, seen) = run(&options, 0);
        let iterations: Vec<_> = seen.iter().map(|progress| (progress.iteration, progress.iterations)).collect();
        assert_eq!(iterations, (1..=WATCHED).map(|iteration| (iteration, WATCHED)).collect::<Vec<_>>());
        let mut history = [0.0; WATCHED + 1];
        // SAFETY: the handle is alive, and the buffer as long as it says.
        let status = unsafe {
            armor_factorization_copy_history(factorization.pointer, history.as_mut_ptr(), WATCHED + 1, ptr::null_mut())
        };
        assert_ok(status);
        assert_eq!(seen.iter().map(|progress| progress.loss).collect::<Vec<_>>(), history[1..]);
        assert!(seen.iter().all(|progress| progress.best_loss <= progress.loss && progress.seconds >= 0.0));
        assert_eq!((seen[0].phase, seen[WATCHED - 1].phase), (ARMOR_PHASE_ANNEALING, ARMOR_PHASE_DESCENDING));
        assert_eq!(report(&factorization).stop_reason, ARMOR_STOP_ITERATIONS);
        let small = Small::new();
        let silent = factorized(&small.matrix(), &small.hessian(), options.pointer);
        assert_eq!(reconstruction(&factorization), reconstruction(&silent));
    }
}

#[test]
fn it_cancels() {
    let (factorization, seen) = run(&watched_options(), 2);
    assert_eq!(seen.len(), 2);
    let report = report(&factorization);
    assert_eq!((report.iterations, report.stop_reason), (2, ARMOR_STOP_CANCELLED));
    assert!(report.loss <= report.nowag_p_loss);
}
