//! The Hessian of inputs that no method has seen.

use std::path::{Path, PathBuf};

use armor_core::Hessian;
use clap::Args;

use super::Result;
use super::arguments::LayerArguments;
use super::input::File;

const SHIPPED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/smollm2-135m-layer10-gate_proj-heldout.safetensors");

#[derive(Args)]
pub struct HeldOutArguments {
    /// Tensor of a held-out Hessian [default: the weight's name with .hessian_heldout for .weight, where there is one]
    #[arg(long, value_name = "KEY")]
    heldout: Option<String>,
    /// Safetensors file with the held-out Hessian [default: the Hessian's file, or what ships with the repository]
    #[arg(long, value_name = "FILE")]
    heldout_file: Option<PathBuf>,
}

impl HeldOutArguments {
    /// Reads the held-out Hessian of a weight; none where none was named and the default is not there.
    pub fn read(&self, layer: &LayerArguments, weight: &str) -> Result<Option<Hessian>> {
        let named = self.heldout.is_some() || self.heldout_file.is_some();
        let places = [&self.heldout_file, &layer.hessian_file, &layer.weights];
        let path = places.into_iter().flatten().next().map_or(Path::new(SHIPPED), PathBuf::as_path);
        if !named && !path.exists() {
            return Ok(None);
        }
        let file = File::read(path)?;
        let stem = weight.strip_suffix(".weight").unwrap_or(weight);
        let key = self.heldout.clone().unwrap_or_else(|| format!("{stem}.hessian_heldout"));
        if !named && !file.tensors()?.names().contains(&key.as_str()) {
            return Ok(None);
        }
        Ok(Some(file.hessian(&key)?))
    }
}
