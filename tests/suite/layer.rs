//! The layer of most properties.

use std::sync::OnceLock;

use armor_core::{Factorization, Hessian, Layer, Options, factorize};
use ndarray::{Array1, Array2, Axis};

use super::library::{Change, Input, Library, Moment, Parts, Preset, done};
use crate::common;

/// Block sizes and iterations of a run on the small layer. Miri takes ten thousand times as long as a processor.
pub const LEFT_BLOCK: usize = if cfg!(miri) { 5 } else { 8 };
pub const RIGHT_BLOCK: usize = if cfg!(miri) { 4 } else { 8 };
pub const ITERATIONS: usize = if cfg!(miri) { 1 } else { 4 };

/// The options of a run on the small layer.
pub const SMALL: [Change; 4] =
    [Change::LeftBlock(LEFT_BLOCK), Change::RightBlock(RIGHT_BLOCK), Change::Iterations(ITERATIONS), Change::Seed(3)];

/// A layer of 12 × 16, whose last left block is smaller than the others.
#[derive(PartialEq)]
pub struct Small {
    pub weight: Array2<f32>,
    pub diagonal: Array1<f32>,
}

impl Small {
    pub fn new() -> Self {
        Small { weight: common::weight(12, 16, 1), diagonal: common::hessian(16, 1) }
    }

    pub fn input(&self) -> Input<'_> {
        Input {
            weight: (&self.weight).into(),
            hessian: Moment::Diagonal(self.diagonal.view().insert_axis(Axis(0)).into()),
        }
    }

    /// The options [`SMALL`] of the crate.
    pub fn options() -> Options {
        Options::exact().left_block(LEFT_BLOCK).right_block(RIGHT_BLOCK).iterations(ITERATIONS).seed(3)
    }

    /// Factorises this layer with the crate.
    pub fn in_rust(&self) -> Factorization {
        static MADE: OnceLock<Factorization> = OnceLock::new();
        if cfg!(miri) && *self == Small::new() { MADE.get_or_init(|| self.run()).clone() } else { self.run() }
    }

    fn run(&self) -> Factorization {
        factorize(&self.layer(), &Self::options()).expect("runs")
    }

    /// The layer of the crate.
    pub fn layer(&self) -> Layer<'_> {
        Layer::new(&self.weight, Hessian::from_diagonal(&self.diagonal).expect("valid")).expect("valid")
    }

    /// Factorises this layer with a library.
    pub fn factorized<L: Library>(&self) -> L::Factorization {
        if cfg!(miri) {
            // One run serves all tests.
            return done(L::from_bytes(&self.in_rust().to_safetensors("small").expect("fits"), "small"));
        }
        done(L::factorize(&self.input(), &L::changed(Preset::Exact, &SMALL)))
    }

    /// Reads what a library makes of this layer with these options.
    pub fn parts<L: Library>(&self, options: &L::Options) -> Parts {
        L::parts(&done(L::factorize(&self.input(), options)))
    }
}
