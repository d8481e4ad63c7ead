//! Compares methods on one layer: pruning, the paper's procedure and this crate's presets. Prints a table, writes
//! `compare.json` and `compare.svg`.
//!
//! Without arguments it runs on the layer that ships with the repository, with a Hessian held out from another text.

mod chart;
#[path = "../common/mod.rs"]
mod common;
mod methods;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use armor_core::{HessianKind, Layer, Options, Pattern};
use clap::Parser;

use common::Result;
use common::arguments::{LayerArguments, with_blocks};
use common::files::make_folder;
use common::heldout::HeldOutArguments;
use common::input::Source;
use common::terminal::{exit_code, say};
use methods::Method;

/// Compare pruning, the paper's procedure and the exact presets on one layer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    layer: LayerArguments,
    #[command(flatten)]
    heldout: HeldOutArguments,
    /// Block sizes: P, or P,Q for left and right
    #[arg(long, value_name = "P[,Q]", value_delimiter = ',', num_args = 1, default_value = "64")]
    block: Vec<usize>,
    /// Sparsity pattern N:M, M up to 8
    #[arg(long, default_value_t = Pattern::TWO_FOUR)]
    pattern: Pattern,
    /// Most iterations of the exact presets [default: the preset's]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Most iterations of the paper's procedure, which itself asks for 20,000
    #[arg(long, value_name = "N", default_value_t = 500)]
    paper_iterations: usize,
    /// Shrinkage of the full Hessian towards its diagonal, 0 to 1 [default: the preset's]
    #[arg(long, value_name = "ALPHA")]
    shrinkage: Option<f64>,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worker threads, 0 for as many as rayon picks: RAYON_NUM_THREADS, or one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
}

fn main() -> ExitCode {
    exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let (exact, paper) = options(arguments)?;
    let source = Source::new(&arguments.layer)?;
    let heldout = arguments.heldout.read(&arguments.layer, source.name())?;
    make_folder(&arguments.out)?;
    let comparison = source.with_layer(|layer| {
        let heldout = heldout.clone().map(|hessian| Layer::new(layer.weight().clone(), hessian)).transpose()?;
        let applicable = Method::ALL
            .into_iter()
            .filter(|method| layer.hessian().kind() == HessianKind::Full || !method.needs_full());
        let rows = applicable
            .map(|method| {
                method.measure(layer, heldout.as_ref(), if method == Method::Paper { &paper } else { &exact })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(output::Comparison {
            name: source.name(),
            shape: (layer.rows(), layer.cols()),
            pattern: arguments.pattern,
            block: &arguments.block,
            seed: arguments.seed,
            full: layer.hessian().kind() == HessianKind::Full,
            rows,
        })
    })?;
    comparison.write(&arguments.out)?;
    comparison.print()?;
    say(format!("\ncompare.json and compare.svg are in {}", arguments.out.display()))?;
    Ok(())
}

/// Options of the exact presets, and of the paper's procedure.
fn options(arguments: &Arguments) -> Result<(Options, Options)> {
    let common = |options: Options| -> Result<Options> {
        let options = with_blocks(options, &arguments.block)?;
        Ok(options.pattern(arguments.pattern).seed(arguments.seed).threads(arguments.threads))
    };
    let mut exact = common(Options::exact())?;
    if let Some(iterations) = arguments.iterations {
        exact = exact.iterations(iterations);
    }
    if let Some(alpha) = arguments.shrinkage {
        exact = exact.shrinkage(alpha);
    }
    let paper = common(Options::paper())?.iterations(arguments.paper_iterations);
    exact.validate()?;
    paper.validate()?;
    Ok((exact, paper))
}
