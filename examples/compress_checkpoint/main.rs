//! Compresses a whole checkpoint: safetensors in, safetensors out, with a report. A run that was killed goes on where it
//! was with `--resume`.
//!
//! `docs/checkpoints.md` tells the way from a model to a compressed one.

mod decisions;
mod progress;
mod table;
#[path = "../common/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use armor_core::checkpoint::{Job, JobSettings};
use armor_core::{FactorPrecision, Format, Objective, Options, Pattern, Precision, RowWeighting};
use clap::{Parser, ValueEnum};

use terminal::{exit_code, say};

/// Compress a checkpoint's weights into A · S · B, a sparse core between two block-diagonal wrappers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Safetensors file, or folder of them with their index
    #[arg(long, value_name = "DIR|FILE")]
    checkpoint: PathBuf,
    /// Safetensors file, or folder of them, with T.hessian [k, k] or T.hessian_diag [k] for each weight T.weight
    #[arg(long, value_name = "FILE")]
    hessians: PathBuf,
    /// Output folder: new, empty, or with --resume that of the same job
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tensors to compress, * for any characters; may be repeated [default: every weight that has a Hessian, but for
    /// embeddings, output layers, routers of experts, and weights that would grow]
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Tensors to leave as they are; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Tensors that are stored as [inputs, outputs]; may be repeated; "" for none [default: as calibration has recorded]
    #[arg(long, value_name = "GLOB")]
    transposed: Vec<String>,
    /// What the names of Hessians start with instead of the names of weights: language_model.=text_model. for instance
    #[arg(long, value_name = "START=START", value_delimiter = ',', value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Whose Hessian a weight without one takes: k_proj=q_proj,v_proj=q_proj,up_proj=gate_proj
    #[arg(long, value_name = "NAME=NAME", value_delimiter = ',', value_parser = pair)]
    alias: Vec<(String, String)>,
    /// Block sizes: P, or P,Q for left and right [default: the preset's]
    #[arg(long, value_name = "P[,Q]", value_delimiter = ',', num_args = 1)]
    block: Vec<usize>,
    /// Sparsity pattern N:M, M up to 8
    #[arg(long, default_value_t = Pattern::TWO_FOUR)]
    pattern: Pattern,
    /// Most iterations of a layer [default: the preset's]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// How to descend
    #[arg(long, value_enum, default_value_t = PresetName::Exact)]
    preset: PresetName,
    /// Annealing temperature, 0 for none [default: the preset's]
    #[arg(long, value_name = "TAU")]
    temperature: Option<f64>,
    /// Which output error to minimise; full needs T.hessian for every weight
    #[arg(long, value_enum, default_value_t = ObjectiveName::Diagonal)]
    objective: ObjectiveName,
    /// How far the whole Hessian is drawn to its diagonal, 0 to 1 [default: the preset's]
    #[arg(long, value_name = "ALPHA")]
    shrinkage: Option<f64>,
    /// Which rows' errors count more [default: nowag with the diagonal objective, uniform with the full one]
    #[arg(long, value_enum)]
    row_weighting: Option<RowWeightingName>,
    /// What a weight becomes: factors, dense-core, sparse-24-bitmask, cutlass, or reconstructed, which is dense and not
    /// faster
    #[arg(long, default_value_t = Format::Factors)]
    format: Format,
    /// Type of values and wrappers: f32, f16 or bf16; or three types, of A, the core and B [default: each weight's own]
    #[arg(long, value_name = "DTYPE[,DTYPE,DTYPE]", value_delimiter = ',', num_args = 1)]
    dtype: Vec<Precision>,
    /// Layers that are worked on at once; memory grows with them
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN)]
    layers_in_flight: NonZeroUsize,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Worker threads, 0 for as many as rayon picks: RAYON_NUM_THREADS, or one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Go on with the job that the output folder holds
    #[arg(long)]
    resume: bool,
    /// Say what the job would do with every file and tensor, as JSON, and stop
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetName {
    /// Exact updates, annealed and extrapolated
    Exact,
    /// The paper's procedure
    Paper,
}

#[derive(Clone, Copy, ValueEnum)]
enum ObjectiveName {
    /// Every input on its own, weighted by the Hessian's diagonal
    Diagonal,
    /// The whole Hessian
    Full,
}

#[derive(Clone, Copy, ValueEnum)]
enum RowWeightingName {
    /// Every row is weighted by NoWag's scale
    Nowag,
    /// Every row has the weight 1
    Uniform,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(from, to)| !(from.is_empty() && to.is_empty()));
    pair.map(|(from, to)| (from.to_owned(), to.to_owned())).ok_or_else(|| format!("\"{text}\" is not NAME=NAME"))
}

fn main() -> ExitCode {
    exit_code(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let (start, in_flight, out) = (Instant::now(), arguments.layers_in_flight.get(), arguments.out.clone());
    let dry_run = arguments.dry_run;
    let job = Job::open(settings(arguments)?)?;
    progress::checked(&job)?;
    decisions::warn(&job);
    if dry_run {
        return Ok(say(job.plan().trim_end())?);
    }
    decisions::print(&job)?;
    let (done, all) = ((0..job.layers().len()).filter(|&index| job.is_done(index)).count(), job.layers().len());
    match done {
        0 => say(format!("{all} tensors to compress"))?,
        _ => say(format!("{all} tensors to compress, of which {done} are done"))?,
    }
    progress::compressed(&job, in_flight)?;
    progress::written(&job)?;
    table::print(&job)?;
    say(format!(
        "\ndone in {:.1} s; the checkpoint, report.json and summary.html are in {}",
        start.elapsed().as_secs_f64(),
        out.display()
    ))?;
    Ok(())
}

fn settings(arguments: Arguments) -> Result<JobSettings, Box<dyn Error>> {
    let options = options(&arguments)?;
    let mut settings = JobSettings::new(arguments.checkpoint, arguments.hessians, arguments.out);
    settings.include = arguments.include;
    settings.exclude = arguments.exclude;
    settings.alias = pairs("alias", arguments.alias)?;
    settings.rename = pairs("rename", arguments.rename)?;
    let given = !arguments.transposed.is_empty();
    let globs = arguments.transposed.into_iter().filter(|glob| !glob.is_empty());
    settings.transposed = given.then(|| globs.collect());
    settings.options = options;
    settings.format = arguments.format;
    settings.dtype = match arguments.dtype[..] {
        [] => None,
        [all] => Some(all.into()),
        [left, core, right] => Some(FactorPrecision { left, core, right }),
        _ => return Err("--dtype: takes one type, or three".into()),
    };
    settings.resume = arguments.resume;
    // Done afterwards, with a progress bar.
    settings.check_values = false;
    Ok(settings)
}

fn options(arguments: &Arguments) -> Result<Options, Box<dyn Error>> {
    let mut options = match arguments.preset {
        PresetName::Exact => Options::exact(),
        PresetName::Paper => Options::paper(),
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
    if let Some(tau) = arguments.temperature {
        options = options.temperature(tau);
    }
    if let Some(alpha) = arguments.shrinkage {
        options = options.shrinkage(alpha);
    }
    if let Some(weighting) = arguments.row_weighting {
        options = options.row_weighting(match weighting {
            RowWeightingName::Nowag => RowWeighting::NoWag,
            RowWeightingName::Uniform => RowWeighting::Uniform,
        });
    }
    options = options.objective(match arguments.objective {
        ObjectiveName::Diagonal => Objective::Diagonal,
        ObjectiveName::Full => Objective::Full,
    });
    Ok(options.pattern(arguments.pattern).seed(arguments.seed).threads(arguments.threads))
}

/// The pairs of an argument by their first names, each of which may be given once.
fn pairs(argument: &str, pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut map = BTreeMap::new();
    for (from, to) in pairs {
        if let Some(other) = map.insert(from.clone(), to.clone()) {
            return Err(format!("--{argument}: {from} is both {other} and {to}").into());
        }
    }
    Ok(map)
}
