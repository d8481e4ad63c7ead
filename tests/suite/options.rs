//! Options: their ranges, and that each of them does what that of the crate does.

use armor_core::{Method, Objective, Options, Pattern, RowWeighting, factorize};

use super::layer::{ITERATIONS, RIGHT_BLOCK, SMALL, Small};
use super::library::{Change, Kind, Library, Parts, Preset, assert_refused, assert_refused_like, done};

/// Values out of range, and how the message begins.
const REFUSED: [(Change, &str); 29] = [
    (Change::LeftBlock(0), "option left_block: 0 is out of range, expected 1 to 4096"),
    (Change::LeftBlock(4097), "option left_block: 4097 is out of range, expected 1 to 4096"),
    (Change::RightBlock(0), "option right_block: 0 is out of range, expected 1 to 4096 and a multiple"),
    (Change::RightBlock(4100), "option right_block: 4100 is out of range, expected 1 to 4096 and a multiple"),
    (Change::RightBlock(6), "option right_block: 6 is out of range, expected 1 to 4096 and a multiple"),
    (Change::Pattern(0, 4), "pattern: 0:4 is not N:M with 0 < N < M ≤ 8"),
    (Change::Pattern(4, 4), "pattern: 4:4 is not N:M with 0 < N < M ≤ 8"),
    (Change::Pattern(2, 9), "pattern: 2:9 is not N:M with 0 < N < M ≤ 8"),
    (Change::Iterations(0), "option iterations: 0 is out of range, expected 1 to 10,000,000"),
    (Change::Iterations(10_000_001), "option iterations: 10000001 is out of range, expected 1 to 10,000,000"),
    (Change::TimeBudget(0.0), "option time_budget: 0 s is out of range, expected a time above zero"),
    (Change::Tolerance(-0.1), "option tolerance: -0.1 is out of range, expected 0 to below 1"),
    (Change::Tolerance(1.0), "option tolerance: 1 is out of range, expected 0 to below 1"),
    (Change::Tolerance(f64::NAN), "option tolerance: NaN is out of range, expected 0 to below 1"),
    (Change::Patience(0), "option patience: 0 is out of range, expected at least 1"),
    (Change::Temperature(-0.1), "option temperature: -0.1 is out of range, expected 0 to 100"),
    (Change::Temperature(100.5), "option temperature: 100.5 is out of range, expected 0 to 100"),
    (Change::Temperature(f64::NAN), "option temperature: NaN is out of range, expected 0 to 100"),
    (Change::MaxExtrapolation(-0.5), "option max_extrapolation: -0.5 is out of range, expected 0 to below 1"),
    (Change::MaxExtrapolation(1.0), "option max_extrapolation: 1 is out of range, expected 0 to below 1"),
    (Change::MaxExtrapolation(f64::NAN), "option max_extrapolation: NaN is out of range, expected 0 to below 1"),
    (Change::LearningRate(0.0), "option learning_rate: 0 is out of range, expected above 0 to 1"),
    (Change::LearningRate(1.5), "option learning_rate: 1.5 is out of range, expected above 0 to 1"),
    (Change::LearningRate(f64::NAN), "option learning_rate: NaN is out of range, expected above 0 to 1"),
    (Change::Threads(1025), "option threads: 1025 is out of range, expected 0 to 1024"),
    (Change::Threads(usize::MAX), "option threads: "),
    (Change::Shrinkage(-0.5), "option shrinkage: -0.5 is out of range, expected 0 to 1"),
    (Change::Shrinkage(1.5), "option shrinkage: 1.5 is out of range, expected 0 to 1"),
    (Change::Shrinkage(f64::NAN), "option shrinkage: NaN is out of range, expected 0 to 1"),
];

pub fn values_out_of_range_are_refused_and_change_nothing<L: Library>() {
    let small = Small::new();
    let mut options = L::changed(Preset::Exact, &SMALL);
    for (change, message) in REFUSED {
        assert_refused_like(L::change(&mut options, change), Kind::Option, message);
    }
    small.parts::<L>(&options).assert_same_bits(&Parts::of(&small.in_rust()));
}

pub fn ends_of_ranges_are_taken<L: Library>() {
    for change in [
        Change::LeftBlock(1),
        Change::LeftBlock(4096),
        Change::RightBlock(4),
        Change::RightBlock(4096),
        Change::Pattern(1, 2),
        Change::Pattern(7, 8),
        Change::Iterations(1),
        Change::Iterations(10_000_000),
        Change::TimeBudget(1e-300),
        Change::TimeBudget(f64::MAX),
        Change::TimeBudget(f64::INFINITY),
        Change::Tolerance(0.0),
        Change::Patience(1),
        Change::Patience(usize::MAX),
        Change::Temperature(0.0),
        Change::Temperature(100.0),
        Change::MaxExtrapolation(0.0),
        Change::MaxExtrapolation(0.999),
        Change::LearningRate(1.0),
        Change::Seed(u64::MAX),
        Change::Threads(0),
        Change::Threads(1024),
        Change::Shrinkage(0.0),
        Change::Shrinkage(1.0),
        Change::MemoryLimit(usize::MAX),
        Change::Method(Method::Gradient),
        Change::RowWeighting(RowWeighting::Uniform),
    ] {
        L::changed(Preset::Exact, &[change]);
        L::changed(Preset::Paper, &[change]);
    }
}

pub fn what_fits_only_together_is_checked_when_a_run_begins<L: Library>() {
    let small = Small::new();
    let mut options = L::changed(Preset::Exact, &SMALL);
    // The right block does not fit groups of 3 until it is set anew.
    done(L::change(&mut options, Change::Pattern(1, 3)));
    let message = format!(
        "option right_block: {RIGHT_BLOCK} is out of range, expected 1 to 4096 and a multiple of the pattern's M"
    );
    assert_refused(L::factorize(&small.input(), &options), Kind::Option, &message);
    done(L::change(&mut options, Change::RightBlock(9)));
    let message = "weight: 16 columns are not a multiple of 3, the group of the 1:3 pattern";
    assert_refused(L::factorize(&small.input(), &options), Kind::Shape, message);
    let paper = L::changed(Preset::Paper, &[Change::Objective(Objective::Full)]);
    let message = "option method: Paper is out of range, expected Exact for the full objective";
    assert_refused(L::factorize(&small.input(), &paper), Kind::Option, message);
}

pub fn every_option_does_what_that_of_the_crate_does<L: Library>() {
    let small = Small::new();
    let same = |preset, changes: &[Change], options: Options| {
        let changes = [&[Change::Iterations(12)], changes].concat();
        let expected = factorize(&small.layer(), &options.iterations(12)).expect("runs");
        small.parts::<L>(&L::changed(preset, &changes)).assert_same_bits(&Parts::of(&expected));
    };
    let (exact, paper) = (Options::exact, Options::paper);
    same(Preset::Exact, &[], exact());
    same(Preset::Exact, &[Change::LeftBlock(5)], exact().left_block(5));
    same(Preset::Exact, &[Change::RightBlock(8)], exact().right_block(8));
    same(Preset::Exact, &[Change::Pattern(3, 8)], exact().pattern(Pattern::new(3, 8).expect("valid")));
    same(Preset::Exact, &[Change::Temperature(0.25)], exact().temperature(0.25));
    same(Preset::Exact, &[Change::MaxExtrapolation(0.5)], exact().max_extrapolation(0.5));
    same(Preset::Exact, &[Change::Seed(u64::MAX)], exact().seed(u64::MAX));
    same(Preset::Exact, &[Change::Threads(3)], exact().threads(3));
    same(Preset::Paper, &[], paper());
    same(Preset::Paper, &[Change::LearningRate(0.01)], paper().learning_rate(0.01));
    same(Preset::Paper, &[Change::Method(Method::Gradient)], paper().method(Method::Gradient));
}

pub fn a_run_ends_when_it_should<L: Library>() {
    let small = Small::new();
    let mut options = L::changed(Preset::Exact, &SMALL);
    let stopped = |options: &L::Options| {
        let parts = small.parts::<L>(options);
        assert_eq!(parts.history.len(), parts.iterations + 1);
        (parts.iterations, parts.stop_reason)
    };
    let all = (ITERATIONS, "iterations".to_owned());
    assert_eq!(stopped(&options), all);
    done(L::change(&mut options, Change::TimeBudget(1e-300)));
    assert_eq!(stopped(&options), (1, "time_budget".to_owned()));
    for unlimited in [f64::INFINITY, f64::MAX] {
        done(L::change(&mut options, Change::TimeBudget(unlimited)));
        assert_eq!(stopped(&options), all);
    }
    for change in [Change::Temperature(0.0), Change::Iterations(1000), Change::Tolerance(0.999), Change::Patience(2)] {
        done(L::change(&mut options, change));
    }
    let (iterations, reason) = stopped(&options);
    assert!(reason == "converged" && iterations < 1000, "{reason} after {iterations}");
}
