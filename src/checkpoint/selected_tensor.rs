//! A weight that a job compresses, as the headers describe it.

use super::tensor_names::{key_of, stem};
use crate::descent::options::Options;
use crate::factors::precision::FactorPrecision;

/// A weight that a job compresses: a tensor of two axes, or one slice of a tensor of three, such as an expert's.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SelectedTensor {
    /// The name of the layer: that of the tensor, or, of slice 3 of `T` or `T.weight`, `T.3` or `T.3.weight`.
    pub name: String,
    /// The name of the tensor.
    pub tensor: String,
    /// The tensor of its scales, of a weight in FP8.
    pub scale: Option<String>,
    /// The slice of the tensor's first axis, of a tensor of three axes.
    pub slice: Option<usize>,
    /// The file that has it.
    pub file: String,
    /// The tensor of its Hessian; `None` where the caller calibrates.
    pub hessian: Option<String>,
    /// Output features, m.
    pub rows: usize,
    /// Input features, k.
    pub cols: usize,
    /// Whether the tensor is stored as [inputs, outputs].
    pub transposed: bool,
    /// Whether the tensor is square and nothing says how it is stored.
    pub(super) is_orientation_assumed: bool,
    /// The options of its run, without a number of threads.
    pub options: Options,
    /// The number types that the factors are stored in.
    pub dtype: FactorPrecision,
    /// Bytes of the weight in the checkpoint.
    pub bytes: usize,
    /// Calibration tokens that reached the layer, where the Hessian's file says so; `None` where the caller calibrates.
    pub tokens: Option<u64>,
}

impl SelectedTensor {
    /// Returns the name without its ending `.weight`: the start of the names of the factors' tensors.
    pub fn stem(&self) -> &str {
        stem(&self.name)
    }

    /// Says that the Hessian is all zero, if the number of dead inputs is that of all inputs; `None` also where the layer
    /// has no calibration tokens, which the job has said before.
    pub(super) fn warning_of_dead_inputs(&self, dead_inputs: usize) -> Option<String> {
        let is_all_zero = dead_inputs == self.cols && self.tokens != Some(0);
        is_all_zero.then(|| format!("{}: its Hessian is all zero, so all inputs count alike", self.name))
    }

    /// The name of the layer's own Hessian: that of the tensor, or, of slice 3, `T.hessian[3]`; `None` where the caller
    /// calibrates.
    pub(super) fn hessian_key(&self) -> Option<String> {
        self.hessian.as_ref().map(|hessian| key_of(hessian, self.slice))
    }
}
