//! What is compared, and what is measured of it.

use armor_core::{
    Descent, Error, Factorization, Layer, Magnitude, MaskSelector, NoWagLoss, NoWagP, Objective, Options, SparseGpt,
    Wanda,
};

use crate::common::Result;
use crate::common::progress::descend;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Magnitude,
    Wanda,
    NoWagP,
    SparseGpt,
    Paper,
    ExactDiagonal,
    ExactFull,
}

/// One method on one layer.
pub struct Row {
    pub method: &'static str,
    /// The paper's proxy loss, relative.
    pub proxy_loss: f64,
    /// Relative output error under the calibration Hessian, and under the one held out.
    pub output_error: f64,
    pub heldout_error: Option<f64>,
    pub iterations: usize,
    pub seconds: f64,
    /// Numbers in the wrappers over entries of the weight; none remain after pruning, whose wrappers are scales.
    pub overhead: f64,
}

impl Method {
    pub const ALL: [Method; 7] = [
        Method::Magnitude,
        Method::Wanda,
        Method::NoWagP,
        Method::SparseGpt,
        Method::Paper,
        Method::ExactDiagonal,
        Method::ExactFull,
    ];

    fn name(self) -> &'static str {
        match self {
            Method::Magnitude => "magnitude",
            Method::Wanda => "Wanda",
            Method::NoWagP => "NoWag-P",
            Method::SparseGpt => "SparseGPT",
            Method::Paper => "paper",
            Method::ExactDiagonal => "exact, diagonal",
            Method::ExactFull => "exact, full",
        }
    }

    /// Whether it works with the whole Hessian only.
    pub fn needs_full(self) -> bool {
        matches!(self, Method::SparseGpt | Method::ExactFull)
    }

    /// Runs it, and measures the result on both Hessians.
    pub fn measure(self, layer: &Layer<'_>, heldout: Option<&Layer<'_>>, options: &Options) -> Result<Row> {
        let result = self.run(layer, options)?;
        let pruned = result.iterations() == 0;
        Ok(Row {
            method: self.name(),
            proxy_loss: result.proxy_loss(layer, &NoWagLoss)?,
            output_error: result.output_error(layer)?,
            heldout_error: heldout.map(|layer| result.output_error(layer)).transpose()?,
            iterations: result.iterations(),
            seconds: result.elapsed().as_secs_f64(),
            overhead: if pruned { 0.0 } else { result.overhead() },
        })
    }

    fn run(self, layer: &Layer<'_>, options: &Options) -> std::result::Result<Factorization, Error> {
        match self {
            Method::Magnitude => prune(layer, options, Magnitude),
            Method::Wanda => prune(layer, options, Wanda),
            Method::NoWagP => prune(layer, options, NoWagP),
            Method::SparseGpt => prune(layer, options, SparseGpt::new()),
            Method::Paper | Method::ExactDiagonal => descend(options, |descent| descent.run(layer)),
            Method::ExactFull => descend(&options.clone().objective(Objective::Full), |descent| descent.run(layer)),
        }
    }
}

fn prune(
    layer: &Layer<'_>,
    options: &Options,
    selector: impl MaskSelector,
) -> std::result::Result<Factorization, Error> {
    Descent::new(options)?.initial_mask(selector).prune(layer)
}
