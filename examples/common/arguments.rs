//! Flags that say which layer is read and how it is cut into blocks.

use std::path::PathBuf;

use armor_core::Options;
use clap::Args;

use super::Result;

#[derive(Args)]
pub struct LayerArguments {
    /// Safetensors file with the weight [default: the layer that ships with the repository]
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// The weight's tensor [default: the file's only tensor named *.weight]
    #[arg(long, value_name = "TENSOR")]
    pub name: Option<String>,
    /// Tensor of the inputs' Hessian, k × k or its diagonal of length k [default: the weight's name with .hessian for
    /// .weight]
    #[arg(long, value_name = "KEY")]
    pub hessian: Option<String>,
    /// Safetensors file with the Hessian [default: the weights' file]
    #[arg(long, value_name = "FILE")]
    pub hessian_file: Option<PathBuf>,
}

/// Sets the blocks of `--block`, none, one for both sides or one for each.
pub fn with_blocks(options: Options, block: &[usize]) -> Result<Options> {
    match *block {
        [] => Ok(options),
        [both] => Ok(options.block(both)),
        [left, right] => Ok(options.left_block(left).right_block(right)),
        _ => Err("--block: takes P or P,Q".into()),
    }
}
