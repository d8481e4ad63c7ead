//! Seconds until the default preset is below the loss that the paper's procedure ends at, against the seconds that the
//! procedure takes, on the layer that ships with the repository.
//!
//! `cargo bench --bench time_to_loss` prints criterion's figures and the ratio, and writes the losses of both presets
//! over seconds to `target/performance/loss.csv`. The procedure's 20,000 iterations are not run but timed: their
//! number times the median of some hundred.

mod common;

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use armor_core::{Descent, Hessian, Layer, Options};
use common::{median, shipped_layer};
use criterion::{Criterion, SamplingMode};

/// What the paper's procedure ends at on this layer; `docs/benchmarks.md` has the run.
const PAPER_LOSS: f64 = 0.02802;
const PAPER_ITERATIONS: usize = 20_000;
const BLOCK: usize = 64;

/// Losses over seconds.
type Curve = Vec<(f64, f64)>;

fn main() {
    let (weight, hessian) = shipped_layer();
    let hessian = Hessian::from_diagonal_of(&hessian).expect("the diagonal is sound");
    let layer = Layer::new(&weight, hessian).expect("the layer is sound");
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("time_to_loss");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).sampling_mode(SamplingMode::Flat);
    let (curves, paper) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    group.bench_function("default preset", |bencher| {
        bencher.iter_custom(|count| {
            let runs = (0..count).map(|_| {
                let curve = run(&layer, &Options::exact().block(BLOCK));
                let reached = seconds_to(&curve, PAPER_LOSS).expect("the default preset gets there");
                curves.borrow_mut().push(curve);
                Duration::from_secs_f64(reached)
            });
            runs.sum()
        });
    });
    group.bench_function("an iteration of the paper's procedure", |bencher| {
        bencher.iter_custom(|count| {
            let mut total = 0.0;
            for _ in 0..count {
                let curve = run(&layer, &Options::paper().block(BLOCK).iterations(20));
                // The first iteration pays for the memory.
                let seconds = (curve[20].0 - curve[1].0) / 19.0;
                paper.borrow_mut().push(seconds);
                total += seconds;
            }
            Duration::from_secs_f64(total)
        });
    });
    group.finish();
    criterion.final_summary();

    let curves = curves.into_inner();
    if curves.is_empty() || paper.borrow().is_empty() {
        return;
    }
    let ours = median(curves.iter().filter_map(|curve| seconds_to(curve, PAPER_LOSS)).collect());
    let iteration = median(paper.into_inner());
    let whole = iteration * PAPER_ITERATIONS as f64;
    println!("\ndefault preset below {PAPER_LOSS}: {ours:.3} s");
    println!("the paper's procedure: {PAPER_ITERATIONS} × {:.2} ms = {whole:.0} s", 1e3 * iteration);
    println!("ratio {:.0}", whole / ours);
    let long = run(&layer, &Options::paper().block(BLOCK).iterations(2_000));
    write_curves(&curves[curves.len() / 2], &long);
}

/// Best loss so far after every iteration.
fn run(layer: &Layer<'_>, options: &Options) -> Curve {
    let mut curve = vec![];
    let result = Descent::new(options)
        .expect("the options are sound")
        .observer(|progress| {
            curve.push((progress.elapsed.as_secs_f64(), progress.best_loss));
            ControlFlow::Continue(())
        })
        .run(layer)
        .expect("the layer is sound");
    curve.insert(0, (0.0, result.nowag_p_loss()));
    curve
}

fn seconds_to(curve: &Curve, loss: f64) -> Option<f64> {
    curve.iter().find(|(_, reached)| *reached < loss).map(|(seconds, _)| *seconds)
}

fn write_curves(exact: &Curve, paper: &Curve) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/target/performance");
    let mut csv = String::from("preset,seconds,loss\n");
    for (preset, curve) in [("exact", exact), ("paper", paper)] {
        for (seconds, loss) in curve {
            csv.push_str(&format!("{preset},{seconds},{loss}\n"));
        }
    }
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(format!("{folder}/loss.csv"), csv));
    match written {
        Ok(()) => println!("wrote target/performance/loss.csv"),
        Err(error) => eprintln!("target/performance/loss.csv: {error}"),
    }
}
