//! Factorises one layer and shows what was gained: a table, `factors.safetensors`, `report.json` and `loss.svg`.
//!
//! Without arguments it runs on the layer that ships with the repository.

mod input;
mod output;

use std::error::Error;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use armor_core::{Descent, Factorization, Options, Pattern, Phase, Progress};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Factorise a layer's weight into A · S · B, a sparse core between two block-diagonal wrappers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Safetensors file with the weight [default: the layer that ships with the repository]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The weight's tensor [default: the file's only tensor named *.weight]
    #[arg(long, value_name = "TENSOR")]
    name: Option<String>,
    /// Tensor of the inputs' Hessian, k × k (its diagonal is used) or its diagonal of length k [default: the weight's name
    /// with .hessian for .weight]
    #[arg(long, value_name = "KEY")]
    hessian: Option<String>,
    /// Safetensors file with the Hessian [default: the weights' file]
    #[arg(long, value_name = "FILE")]
    hessian_file: Option<PathBuf>,
    /// Block sizes: P, or P,Q for left and right [default: the preset's]
    #[arg(long, value_name = "P[,Q]", value_delimiter = ',', num_args = 1)]
    block: Vec<usize>,
    /// Sparsity pattern N:M, M up to 8
    #[arg(long, default_value_t = Pattern::TWO_FOUR)]
    pattern: Pattern,
    /// Most iterations [default: the preset's]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// How to descend
    #[arg(long, value_enum, default_value_t = Preset::Exact)]
    preset: Preset,
    /// Annealing temperature, 0 for none [default: the preset's]
    #[arg(long, value_name = "TAU")]
    temperature: Option<f64>,
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

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Exact updates, annealed and extrapolated
    Exact,
    /// The paper's procedure
    Paper,
}

impl Preset {
    fn name(self) -> &'static str {
        match self {
            Preset::Exact => "exact",
            Preset::Paper => "paper",
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let options = options(arguments)?;
    let source = input::Source::new(
        arguments.weights.as_deref(),
        arguments.name.as_deref(),
        arguments.hessian.as_deref(),
        arguments.hessian_file.as_deref(),
    )?;
    // Before the descent: a folder that cannot be written must not cost a finished run.
    output::make_folder(&arguments.out)?;
    let result = source.with_layer(|layer| Ok(descend(&options, |descent| descent.run(layer))?))?;
    let summary = output::Summary {
        name: source.name(),
        preset: arguments.preset.name(),
        pattern: arguments.pattern,
        seed: arguments.seed,
        threads: if arguments.threads == 0 { rayon::current_num_threads() } else { arguments.threads },
        result: &result,
    };
    summary.print();
    summary.write(&arguments.out)?;
    println!("\nfactors.safetensors, report.json and loss.svg are in {}", arguments.out.display());
    Ok(())
}

fn options(arguments: &Arguments) -> Result<Options, Box<dyn Error>> {
    let mut options = match arguments.preset {
        Preset::Exact => Options::exact(),
        Preset::Paper => Options::paper(),
    };
    options = match arguments.block[..] {
        [] => options,
        [both] => options.block(both),
        [left, right] => options.left_block(left).right_block(right),
        _ => return Err("--block: takes P or P,Q".into()),
    };
    if let Some(iterations) = arguments.iterations {
        options = options.iterations(iterations);
    }
    if let Some(temperature) = arguments.temperature {
        options = options.temperature(temperature);
    }
    let options = options.pattern(arguments.pattern).seed(arguments.seed).threads(arguments.threads);
    options.validate()?;
    Ok(options)
}

/// Runs a descent under a progress bar.
fn descend(
    options: &Options,
    run: impl FnOnce(Descent<'_>) -> Result<Factorization, armor_core::Error>,
) -> Result<Factorization, armor_core::Error> {
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} (about {eta} left)")
            .expect("the template is well formed"),
    );
    let show = |progress: &Progress| {
        bar.set_length(progress.iterations as u64);
        bar.set_position(progress.iteration as u64);
        let phase = if progress.phase == Phase::Annealing { "annealing" } else { "descending" };
        bar.set_message(format!("{phase}, loss {:.6}, best {:.6}", progress.loss, progress.best_loss));
        ControlFlow::Continue(())
    };
    let result = run(Descent::new(options)?.observer(show));
    bar.finish_and_clear();
    result
}
