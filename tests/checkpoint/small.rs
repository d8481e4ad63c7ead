//! A model of a few tensors in one file, with its Hessians, for tests of single decisions.

use std::path::{Path, PathBuf};

use armor_core::checkpoint::{Job, JobSettings};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use crate::model::{Tensor, Tensors, write};

/// Rows and columns of a square weight that becomes smaller in blocks of four.
pub const SIZE: usize = 32;

/// A folder with `model/` and `hessians.safetensors`.
pub struct Small(TempDir);

impl Small {
    /// Writes the weights to `model/model.safetensors`.
    pub fn new(weights: &Tensors, hessians: &Tensors) -> Self {
        let small = Small(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir(small.path("model")).expect("a folder");
        write(&small.path("model/model.safetensors"), weights);
        write(&small.path("hessians.safetensors"), hessians);
        small
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file of the model's folder.
    pub fn file(&self, name: &str, content: &str) -> &Self {
        let path = self.path("model").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("can be written");
        self
    }

    /// A job that is done in a moment.
    pub fn settings(&self, out: &str) -> JobSettings {
        let mut settings = JobSettings::new(self.path("model"), self.path("hessians.safetensors"), self.path(out));
        settings.options = settings.options.block(4).iterations(4);
        settings
    }

    /// The message that refuses a job.
    #[track_caller]
    pub fn refused(&self, change: impl FnOnce(&mut JobSettings)) -> String {
        let mut settings = self.settings("refused");
        change(&mut settings);
        let error = Job::open(settings).expect_err("must be refused").to_string();
        assert!(!self.path("refused").exists(), "something was written");
        error.replace(&self.0.path().display().to_string(), "{folder}")
    }
}

/// A random square weight in f32.
pub fn square(seed: u64) -> Tensor {
    Tensor::weight(Dtype::F32, SIZE, SIZE, seed)
}

/// Tensors by name.
pub fn named<const N: usize>(tensors: [(&str, Tensor); N]) -> Tensors {
    tensors.map(|(name, tensor)| (name.to_owned(), tensor)).into()
}

/// A tensor of integers.
pub fn integers(values: &[i64]) -> Tensor {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: Dtype::I64, shape: vec![values.len()], bytes }
}

/// The mark of a weight that is stored as [inputs, outputs], 1, or as [outputs, inputs], 0.
pub fn mark(value: u8) -> Tensor {
    Tensor { dtype: Dtype::U8, shape: vec![1], bytes: vec![value] }
}

/// The report of a finished job.
pub fn report(job: &Job) -> Value {
    serde_json::from_str(&job.report().expect("finished")).expect("JSON")
}

/// The names of the layers.
pub fn layers(job: &Job) -> Vec<&str> {
    job.layers().iter().map(|layer| layer.name.as_str()).collect()
}
