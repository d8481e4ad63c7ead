//! Factorises one layer and shows what was gained: a table, `factors.safetensors`, `report.json` and `loss.svg`.
//!
//! Without arguments it runs on the layer that ships with the repository.

#[path = "../common/mod.rs"]
mod common;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use armor_core::{HessianKind, Layer, Objective, Options, Pattern, RowWeighting};
use clap::{Parser, ValueEnum};

use common::Result;
use common::arguments::{LayerArguments, with_blocks};
use common::heldout::HeldOutArguments;
use common::input::Source;
use common::terminal::{exit_code, say};

/// Factorise a layer's weight into A · S · B, a sparse core between two block-diagonal wrappers.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    layer: LayerArguments,
    #[command(flatten)]
    heldout: HeldOutArguments,
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
    /// Which output error to minimise
    #[arg(long, value_enum, default_value_t = ObjectiveName::Diagonal)]
    objective: ObjectiveName,
    /// Shrinkage of the full Hessian towards its diagonal, 0 to 1 [default: the preset's]
    #[arg(long, value_name = "ALPHA")]
    shrinkage: Option<f64>,
    /// Which rows' errors count more [default: nowag with the diagonal objective, uniform with the full one]
    #[arg(long, value_enum)]
    row_weighting: Option<RowWeightingName>,
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

#[derive(Clone, Copy, ValueEnum)]
enum ObjectiveName {
    /// Every input on its own, weighted by the Hessian's diagonal
    Diagonal,
    /// The output error under the whole Hessian
    Full,
}

impl ObjectiveName {
    fn name(self) -> &'static str {
        match self {
            ObjectiveName::Diagonal => "diagonal",
            ObjectiveName::Full => "full",
        }
    }

    /// The weighting that it comes with.
    fn row_weighting(self) -> RowWeightingName {
        match self {
            ObjectiveName::Diagonal => RowWeightingName::Nowag,
            ObjectiveName::Full => RowWeightingName::Uniform,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum RowWeightingName {
    /// Every row is weighted by NoWag's scale
    Nowag,
    /// Every row has the weight 1
    Uniform,
}

impl RowWeightingName {
    fn name(self) -> &'static str {
        match self {
            RowWeightingName::Nowag => "nowag",
            RowWeightingName::Uniform => "uniform",
        }
    }
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
    exit_code(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = options(arguments)?;
    let source = Source::new(&arguments.layer)?;
    // Before the descent: a folder that cannot be written must not cost a finished run.
    common::files::make_folder(&arguments.out)?;
    let heldout = arguments.heldout.read(&arguments.layer, source.name())?;
    let (result, errors) = source.with_layer(|layer| {
        let result = common::progress::descend(&options, |descent| descent.run(layer))?;
        let heldout = heldout.clone().map(|hessian| Layer::new(layer.weight().clone(), hessian)).transpose()?;
        let errors = output::OutputErrors {
            fitted: (layer.hessian().kind() == HessianKind::Full).then(|| result.output_error(layer)).transpose()?,
            heldout: heldout.map(|layer| result.output_error(&layer)).transpose()?,
        };
        Ok((result, errors))
    })?;
    let summary = output::Summary {
        name: source.name(),
        preset: arguments.preset.name(),
        pattern: arguments.pattern,
        seed: arguments.seed,
        threads: if arguments.threads == 0 { rayon::current_num_threads() } else { arguments.threads },
        objective: arguments.objective.name(),
        shrinkage: arguments.shrinkage,
        row_weighting: arguments.row_weighting.unwrap_or(arguments.objective.row_weighting()).name(),
        result: &result,
        errors,
    };
    summary.write(&arguments.out)?;
    summary.print()?;
    say(format!("\nfactors.safetensors, report.json and loss.svg are in {}", arguments.out.display()))?;
    Ok(())
}

fn options(arguments: &Arguments) -> Result<Options> {
    let mut options = match arguments.preset {
        Preset::Exact => Options::exact(),
        Preset::Paper => Options::paper(),
    };
    options = with_blocks(options, &arguments.block)?;
    if let Some(iterations) = arguments.iterations {
        options = options.iterations(iterations);
    }
    options = options.objective(match arguments.objective {
        ObjectiveName::Diagonal => Objective::Diagonal,
        ObjectiveName::Full => Objective::Full,
    });
    if let Some(alpha) = arguments.shrinkage {
        options = options.shrinkage(alpha);
    }
    if let Some(weighting) = arguments.row_weighting {
        options = options.row_weighting(match weighting {
            RowWeightingName::Nowag => RowWeighting::NoWag,
            RowWeightingName::Uniform => RowWeighting::Uniform,
        });
    }
    if let Some(temperature) = arguments.temperature {
        options = options.temperature(temperature);
    }
    let options = options.pattern(arguments.pattern).seed(arguments.seed).threads(arguments.threads);
    options.validate()?;
    Ok(options)
}
