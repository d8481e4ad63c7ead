//! Structs that grow: an older caller gets what it knows, a newer one is told what was written.

use armor_core::ffi::*;

use crate::setup::*;

#[test]
fn a_struct_of_no_known_size() {
    let small = Small::new();
    let factorization = small.in_c();
    // The first version ended before `ridge`.
    let first = std::mem::offset_of!(RunReport, ridge);
    for size in [0, 8, first - 1] {
        // SAFETY: numbers, for which zero is a value.
        let mut report: RunReport = unsafe { std::mem::zeroed() };
        report.struct_size = size;
        // SAFETY: the handle is alive and the report a local.
        let status = unsafe { armor_factorization_get_report(factorization.pointer, &mut report) };
        let message = format!("out.struct_size: is {size}, expected {first} or more");
        assert_refused(status, ARMOR_STRUCT_SIZE, &message);
        assert_eq!((report.struct_size, report.iterations), (size, 0));
    }
    // SAFETY: as above.
    let mut sizes: FactorizationSizes = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let status = unsafe { armor_factorization_get_sizes(factorization.pointer, &mut sizes) };
    let message = format!("out.struct_size: is 0, expected {} or more", size_of::<FactorizationSizes>());
    assert_refused(status, ARMOR_STRUCT_SIZE, &message);
}

#[test]
fn a_struct_of_the_first_version() {
    let small = Small::new();
    let factorization = small.in_c();
    // SAFETY: numbers, for which zero is a value.
    let mut report: RunReport = unsafe { std::mem::zeroed() };
    report.struct_size = std::mem::offset_of!(RunReport, ridge);
    (report.ridge, report.dead_inputs) = (7.0, 7);
    // SAFETY: the handle is alive and the report a local.
    assert_ok(unsafe { armor_factorization_get_report(factorization.pointer, &mut report) });
    assert_eq!(
        (report.struct_size, report.iterations, report.ridge, report.dead_inputs),
        (std::mem::offset_of!(RunReport, ridge), ITERATIONS, 7.0, 7)
    );
}

#[test]
fn a_struct_of_a_later_version() {
    #[repr(C)]
    struct Later {
        known: RunReport,
        unknown: [u64; 3],
    }
    let small = Small::new();
    let factorization = small.in_c();
    // SAFETY: numbers, for which zero is a value.
    let mut later: Later = unsafe { std::mem::zeroed() };
    later.known.struct_size = size_of::<Later>();
    later.unknown = [7; 3];
    let out = (&raw mut later).cast();
    // SAFETY: the handle is alive and the report a local.
    assert_ok(unsafe { armor_factorization_get_report(factorization.pointer, out) });
    assert_eq!(later.known.struct_size, size_of::<RunReport>());
    assert_eq!((later.known.iterations, later.unknown), (ITERATIONS, [7; 3]));
}
