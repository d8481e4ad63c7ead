//! Options of the ABI: constants that are none, no options at all, and JSON.

use std::ffi::CStr;
use std::ptr;

use armor_core::Options;
use armor_core::ffi::*;

use crate::setup::*;

#[test]
fn constants_and_times_that_are_none_change_nothing() {
    let small = Small::new();
    let options = small_options();
    let o = options.pointer;
    // SAFETY: the handle is alive.
    unsafe {
        for method in [0, 4, u32::MAX] {
            let message = format!("method: {method} is not a method, expected 1 to 3");
            assert_refused(armor_options_set_method(o, method), ARMOR_UNKNOWN_VALUE, &message);
        }
        // A duration of the crate can be neither negative nor NaN.
        for seconds in [f64::NAN, -1.0, f64::NEG_INFINITY] {
            let message = format!("option time_budget: {seconds} s is out of range, expected a time above zero");
            assert_refused(armor_options_set_time_budget(o, seconds), ARMOR_OPTION_OUT_OF_RANGE, &message);
        }
    }
    let after = factorized(&small.matrix(), &small.hessian(), options.pointer);
    assert_eq!(reconstruction(&after), reconstruction(&small.in_c()));
}

#[test]
fn a_preset_that_is_none() {
    let mut out = ptr::without_provenance_mut(0x5a5a);
    for preset in [0, 3, u32::MAX] {
        // SAFETY: out is a local.
        let status = unsafe { armor_options_create(preset, &mut out) };
        assert_refused(status, ARMOR_UNKNOWN_VALUE, &format!("preset: {preset} is not a preset, expected 1 or 2"));
    }
    assert_eq!(out.addr(), 0x5a5a);
}

#[test]
#[cfg_attr(miri, ignore = "many iterations")]
fn no_options_are_the_preset_exact() {
    let small = Small::new();
    let exact = new_options(ARMOR_PRESET_EXACT);
    let with = factorized(&small.matrix(), &small.hessian(), exact.pointer);
    let without = factorized(&small.matrix(), &small.hessian(), ptr::null());
    assert_eq!(reconstruction(&with), reconstruction(&without));
}

fn from_json(json: &[u8], out: &mut *mut OptionsHandle) -> u32 {
    // SAFETY: the bytes are as many as they say.
    unsafe { armor_options_from_json(json.as_ptr(), json.len(), out) }
}

fn to_json(options: &Owned<OptionsHandle>) -> String {
    let (pointer, mut needed) = (options.pointer, 0);
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        assert_eq!(armor_options_to_json(pointer, ptr::null_mut(), 0, &mut needed), ARMOR_BUFFER_TOO_SMALL);
        let mut text = vec![0x55; needed];
        let short = armor_options_to_json(pointer, text.as_mut_ptr(), needed - 1, ptr::null_mut());
        assert_refused(
            short,
            ARMOR_BUFFER_TOO_SMALL,
            &format!("buffer: holds {} elements, needs {needed}", needed - 1),
        );
        assert_eq!(text[0], 0x55);
        assert_ok(armor_options_to_json(pointer, text.as_mut_ptr(), needed, ptr::null_mut()));
        CStr::from_ptr(text.as_ptr()).to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn json_is_that_of_the_crate() {
    assert_eq!(to_json(&new_options(ARMOR_PRESET_PAPER)), Options::paper().to_json());
    assert_eq!(to_json(&small_options()), Small::options().to_json());
    let mut pointer = ptr::null_mut();
    let json = br#"{"preset": "paper", "block": [5, 8], "row_weighting": "uniform", "time_budget": 2.5}"#;
    assert_ok(from_json(json, &mut pointer));
    let read = Owned::new(pointer, armor_options_free);
    assert_eq!(to_json(&read), Options::from_json(json).expect("valid").to_json());
    assert_ok(from_json(to_json(&read).as_bytes(), &mut pointer));
    assert_eq!(to_json(&Owned::new(pointer, armor_options_free)), to_json(&read));
}

#[test]
fn options_that_do_not_fit_together_yet_are_read_again() {
    let paper = new_options(ARMOR_PRESET_PAPER);
    // SAFETY: the handle is alive.
    unsafe {
        assert_ok(armor_options_set_objective(paper.pointer, ARMOR_OBJECTIVE_FULL));
        assert_ok(armor_options_set_pattern(paper.pointer, 1, 3));
        assert_ok(armor_options_set_time_budget(paper.pointer, 1e300));
    }
    let mut pointer = ptr::null_mut();
    assert_ok(from_json(to_json(&paper).as_bytes(), &mut pointer));
    assert_eq!(to_json(&Owned::new(pointer, armor_options_free)), to_json(&paper));
}

#[test]
fn json_that_is_refused() {
    let mut out = ptr::without_provenance_mut(0x5a5a);
    for (json, status, message) in [
        (&b"\xff{}"[..], ARMOR_INVALID_TEXT, "json: byte 0 is not UTF-8"),
        (b"[]", ARMOR_INVALID_SETTINGS, "json: document: is not a JSON object"),
        (b"{}\0", ARMOR_INVALID_SETTINGS, "json: document: trailing characters"),
        (br#"{"blocks": 8}"#, ARMOR_INVALID_SETTINGS, "json: blocks: unknown field `blocks`"),
        (br#"{"seed": 1, "seed": 2}"#, ARMOR_INVALID_SETTINGS, "json: "),
        (br#"{"method": "best"}"#, ARMOR_INVALID_SETTINGS, "json: method: unknown variant `best`"),
        (br#"{"memory_limit": 0}"#, ARMOR_OPTION_OUT_OF_RANGE, "option memory_limit: 0 is out of range"),
        (br#"{"time_budget": 0}"#, ARMOR_OPTION_OUT_OF_RANGE, "option time_budget: 0 s is out of range"),
        (br#"{"time_budget": -1}"#, ARMOR_INVALID_SETTINGS, "json: time_budget: -1 s is below zero"),
        (br#"{"left_block": 0}"#, ARMOR_OPTION_OUT_OF_RANGE, "option left_block: 0 is out of range"),
    ] {
        assert_eq!(from_json(json, &mut out), status, "{}", last_message());
        assert!(last_message().starts_with(message), "{} for {message}", last_message());
    }
    assert_eq!(out.addr(), 0x5a5a);
    let mut room = [0_usize; 256];
    let words = room.as_mut_ptr();
    let options = small_options();
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    // SAFETY: what is not valid must be refused; the rest lies in `room`.
    unsafe {
        null("json", armor_options_from_json(ptr::null(), 0, &mut out));
        null("out", armor_options_from_json(b"{}".as_ptr(), 2, ptr::null_mut()));
        null("options", armor_options_to_json(ptr::null(), words.cast(), 8, ptr::null_mut()));
        null("buffer", armor_options_to_json(options.pointer, ptr::null_mut(), 8, ptr::null_mut()));
        assert_eq!(armor_options_from_json(b"{}".as_ptr(), 2, words.byte_add(1).cast()), ARMOR_MISALIGNED);
        words.cast::<[u8; 2]>().write(*b"{}");
        assert_refused(armor_options_from_json(words.cast(), 2, words.cast()), ARMOR_OVERLAP, "out: overlaps json");
        words.write(0);
        let inside = options.pointer.cast();
        let status = armor_options_to_json(options.pointer, inside, 8192, ptr::null_mut());
        assert_refused(status, ARMOR_OVERLAP, "buffer: overlaps options");
        let status = armor_options_to_json(options.pointer, words.cast(), usize::MAX, ptr::null_mut());
        assert_eq!(status, ARMOR_SIZE_OVERFLOW);
    }
    assert_eq!(room, [0; 256]);
}
