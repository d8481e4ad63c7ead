//! What jobs work on: a tiny checkpoint in a folder of its own, the only place that they may write to.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::damage::Damage;

/// A tensor's name, shape and numbers.
type Tensor<'a> = (&'a str, &'a [usize], Vec<f32>);

pub struct Folder {
    root: TempDir,
    checkpoint: Vec<u8>,
}

/// The folder of the process. A fuzzer ends without destructors: whoever starts it removes what is left.
pub fn folder() -> &'static Folder {
    static FOLDER: OnceLock<Folder> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let numbers = |len: usize, seed| (0..len).map(|i| ((seed * i + 3) % 11) as f32 - 5.0).collect::<Vec<_>>();
        let checkpoint = file(&[
            ("a.weight", &[5, 8], numbers(40, 7)),
            ("b.weight", &[4, 4], numbers(16, 3)),
            ("norm.weight", &[6], numbers(6, 1)),
        ]);
        let whole = (0..16).map(|i| if i % 5 == 0 { 2.0 } else { 0.5 }).collect();
        let hessians = file(&[("a.hessian_diag", &[8], vec![1.5; 8]), ("b.hessian", &[4, 4], whole)]);
        let folder = Folder { root: tempfile::tempdir().expect("a folder"), checkpoint };
        std::fs::write(folder.checkpoint(), &folder.checkpoint).expect("can be written");
        std::fs::write(folder.hessians(), hessians).expect("can be written");
        folder
    })
}

impl Folder {
    pub fn checkpoint(&self) -> PathBuf {
        self.root.path().join("model.safetensors")
    }

    pub fn hessians(&self) -> PathBuf {
        self.root.path().join("hessians.safetensors")
    }

    /// Where the job goes that is there from the start.
    pub fn finished(&self) -> PathBuf {
        self.root.path().join("finished")
    }

    /// Where the jobs of one run go.
    pub fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Writes a checkpoint that is sound but for some damage.
    pub fn damaged(&self, to: &Path, damage: &Damage) {
        std::fs::write(to, damage.applied_to(&self.checkpoint)).expect("can be written");
    }
}

/// A safetensors file.
fn file(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        entries
            .push(format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{}]}}"#, data.len()));
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}
