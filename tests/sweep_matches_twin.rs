//! The sweep of the crate, in lanes, strips and f32, does what a naive f64 sweep does.

mod common;

use std::ops::ControlFlow;
use std::sync::Mutex;

use armor_core::{
    AnnealedSweep, BoxError, CoreUpdate, Descent, ExactSweep, Hessian, InstructionSet, Layer, Options, OutputError,
    Pattern, State, Step,
};
use common::{Log, Nothing, Spy, assert_close, dense_core, hessian, loss, masks, members, sweep, weight};
use ndarray::Array2;

struct Case {
    shape: (usize, usize),
    blocks: (usize, usize),
    pattern: (usize, usize),
}

/// Sweeps on every instruction set that this CPU has against the twin.
#[track_caller]
fn check(case: &Case, seed: u64) {
    for instructions in InstructionSet::available() {
        check_on(instructions, case, seed);
    }
}

/// Two iterations' sweeps against the twin's, from the very state each began with.
#[track_caller]
fn check_on(instructions: InstructionSet, case: &Case, seed: u64) {
    let Case { shape: (rows, cols), blocks: (left, right), pattern: (n, m) } = *case;
    let what = format!("{rows}x{cols}, blocks {left} and {right}, {n}:{m}, {instructions:?}");
    let w = weight(rows, cols, seed);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, seed)).expect("valid")).expect("valid");
    let options = Options::exact()
        .left_block(left)
        .right_block(right)
        .pattern(Pattern::new(n, m).expect("valid"))
        .temperature(0.0)
        .max_extrapolation(0.0)
        .iterations(2);
    let log = Log::default();
    let descent = Descent::new(&options).expect("valid");
    descent.core_update(Spy::new(ExactSweep::on(instructions), &log)).run(&layer).expect("runs");
    let log = log.into_inner().expect("not poisoned");
    assert_eq!(log.len(), 2, "{what}");
    for (before, after) in &log {
        assert_eq!((&before.left, &before.right), (&after.left, &after.right), "{what}: a sweep moves the core only");
        assert_close(after.reported, after.loss(), 1e-5, 1e-9 * after.energy(), &format!("{what}: reported loss"));
        let twin = sweep(before);
        let twin_loss = loss(&before.y, &before.left, &twin, &before.right);
        assert!(twin_loss < 0.999 * before.loss(), "{what}: the twin's sweep must do something");
        assert_close(after.loss(), twin_loss, 1e-4, 1e-9 * after.energy(), &format!("{what}: loss after the sweep"));
        // Groups may differ where two masks tie to f32's precision, and in what follows from that choice.
        let groups = rows * cols / m;
        let differing = (0..groups)
            .filter(|index| {
                let (row, group) = (index / (cols / m), index % (cols / m));
                (0..m).any(|j| {
                    let column = group * m + j;
                    (twin[[row, column]] != 0.0) != (after.core[[row, column]] != 0.0)
                })
            })
            .count();
        assert!(differing * 200 <= groups + 200, "{what}: {differing} of {groups} masks differ");
        assert_eq!(after.core, dense_core(&after.sparse));
    }
}

#[test]
fn every_count_of_blocks_around_the_number_of_lanes() {
    for count in [1, 2, 15, 16, 17, 33] {
        check(&Case { shape: (8 * count, 16), blocks: (8, 8), pattern: (2, 4) }, count as u64);
    }
}

#[test]
fn every_block_size_around_a_strip_and_a_vector() {
    for size in [4, 8, 12, 16, 20, 36] {
        check(&Case { shape: (3 * size, 2 * size), blocks: (size, size), pattern: (2, 4) }, size as u64);
    }
}

#[test]
fn left_and_right_blocks_of_different_sizes() {
    check(&Case { shape: (51, 24), blocks: (17, 8), pattern: (2, 4) }, 1);
    check(&Case { shape: (21, 72), blocks: (7, 36), pattern: (2, 4) }, 2);
    check(&Case { shape: (10, 32), blocks: (1, 32), pattern: (2, 4) }, 3);
    check(&Case { shape: (80, 8), blocks: (40, 4), pattern: (2, 4) }, 4);
}

#[test]
fn ragged_last_blocks() {
    check(&Case { shape: (8 * 16 + 3, 20), blocks: (8, 16), pattern: (2, 4) }, 5);
    check(&Case { shape: (8 * 15 + 5, 36), blocks: (8, 8), pattern: (2, 4) }, 6);
    check(&Case { shape: (41, 28), blocks: (20, 16), pattern: (2, 4) }, 7);
    check(&Case { shape: (7, 12), blocks: (64, 64), pattern: (2, 4) }, 8);
    check(&Case { shape: (35, 40), blocks: (16, 16), pattern: (4, 8) }, 9);
}

#[test]
fn other_patterns() {
    for (n, m) in [(1, 4), (3, 4), (4, 8), (1, 2), (2, 3), (2, 6), (7, 8)] {
        let right = 2 * m.max(4) / m * m;
        check(&Case { shape: (36, 3 * right), blocks: (18, right), pattern: (n, m) }, (10 * n + m) as u64);
    }
}

#[test]
fn the_annealed_sweep_at_temperature_zero_is_the_exact_sweep() {
    let w = weight(40, 48, 3);
    let layer = Layer::new(&w, Hessian::identity(48)).expect("valid");
    let options = Options::exact().block(16).temperature(0.0).iterations(4);
    let exact = Descent::new(&options).expect("valid").core_update(ExactSweep::default()).run(&layer).expect("runs");
    let annealed =
        Descent::new(&options).expect("valid").core_update(AnnealedSweep::default()).run(&layer).expect("runs");
    assert_eq!(exact.history(), annealed.history());
    assert_eq!(exact.core(), annealed.core());
}

#[test]
fn fused_instruction_sets_give_the_same_bits() {
    // No entry depends on what other lanes hold; only the loss is added up by batches of lanes. The portable set rounds
    // between product and sum.
    let sets = InstructionSet::available();
    let fused = sets.iter().filter(|&&set| set != InstructionSet::Portable);
    let w = weight(19 * 16, 96, 6);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(96, 6)).expect("valid")).expect("valid");
    let options = Options::exact().block(16).temperature(0.0).iterations(8);
    let runs: Vec<_> = fused
        .map(|&set| {
            Descent::new(&options).expect("valid").core_update(AnnealedSweep::on(set)).run(&layer).expect("runs")
        })
        .collect();
    for pair in runs.windows(2) {
        assert_eq!(pair[0].core(), pair[1].core());
        assert_eq!((pair[0].left(), pair[0].right()), (pair[1].left(), pair[1].right()));
        for (a, b) in pair[0].history().iter().zip(pair[1].history()) {
            assert_close(*a, *b, 1e-13, 0.0, "history");
        }
    }
}

/// The share of groups whose mask is as the softmax of the gains says, for one group drawn many times.
#[test]
fn masks_are_drawn_by_the_softmax_of_their_gains() {
    // Equal, independent groups: entries (4, 3, 2, 1), identity wrappers. A mask gains the squares of what it keeps.
    const SIDE: usize = 64;
    const GROUPS: usize = SIDE * SIDE;
    let w = Array2::from_shape_fn((SIDE, 4 * SIDE), |(_, j)| [4.0_f32, 3.0, 2.0, 1.0][j % 4]);
    let layer = Layer::new(&w, Hessian::identity(4 * SIDE)).expect("valid");
    let options =
        Options::exact().left_block(1).right_block(4).temperature(1.5).max_extrapolation(0.0).iterations(1_000);
    for instructions in InstructionSet::available() {
        let temperatures = Mutex::new(Vec::new());
        let log = Log::default();
        let first = Descent::new(&options)
            .expect("valid")
            .proxy_loss(OutputError)
            .wrapper_update(Nothing)
            .core_update(Thermometer(Spy::new(AnnealedSweep::on(instructions), &log), &temperatures))
            .observer(|_| ControlFlow::Break(()))
            .run(&layer);
        first.expect("runs");
        let (log, temperatures) = (log.into_inner().expect("not poisoned"), temperatures.into_inner().expect("alone"));
        let after = &log[0].1;
        let gain = |mask: u8| members(mask).iter().map(|&j| after.y[[0, j]].powi(2)).sum::<f64>();
        let odds: Vec<f64> =
            masks(Pattern::TWO_FOUR).iter().map(|&mask| (gain(mask) / temperatures[0]).exp()).collect();
        let total: f64 = odds.iter().sum();
        for (mask, odds) in masks(Pattern::TWO_FOUR).into_iter().zip(odds) {
            let expected = odds / total;
            let drawn = (0..GROUPS).filter(|&group| after.sparse.group(group / SIDE, group % SIDE).0 == mask).count();
            let found = drawn as f64 / GROUPS as f64;
            let deviation = (expected * (1.0 - expected) / GROUPS as f64).sqrt();
            let what = format!("{instructions:?}, mask {mask:#06b}: {found} of {expected}");
            assert!((found - expected).abs() <= 4.0 * deviation + 1.0 / GROUPS as f64, "{what}");
        }
    }
}

/// Notes the temperature of every update.
struct Thermometer<'a, U>(U, &'a Mutex<Vec<f64>>);

impl<U: CoreUpdate> CoreUpdate for Thermometer<'_, U> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.1.lock().expect("alone").push(step.temperature);
        self.0.update(state, step)
    }

    fn anneals(&self) -> bool {
        self.0.anneals()
    }
}

#[test]
fn an_annealed_sweep_reports_its_own_loss() {
    for (rows, cols, block) in [(40, 48, 16), (37, 36, 8), (272, 16, 8)] {
        let w = weight(rows, cols, 4);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 4)).expect("valid")).expect("valid");
        let options = Options::exact().block(block).temperature(5.0).iterations(6);
        let log = Log::default();
        Descent::new(&options)
            .expect("valid")
            .core_update(Spy::new(AnnealedSweep::default(), &log))
            .run(&layer)
            .expect("runs");
        for (_, after) in &log.into_inner().expect("not poisoned") {
            assert_close(after.reported, after.loss(), 1e-5, 0.0, "reported loss while annealing");
        }
    }
}
