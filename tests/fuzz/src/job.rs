//! Calls on jobs. Wherever their settings come from, what they write stays in the [`folder`].

use arbitrary::Arbitrary;
use armor_core::ffi::*;
use serde::de::IgnoredAny;

use crate::call::count_down;
use crate::damage::Damage;
use crate::folder::folder;
use crate::handles::{Handles, Which};
use crate::memory::{Count, Memory, Place};
use crate::view::Hessian;

#[derive(Arbitrary, Debug)]
pub enum JobCall {
    Create {
        settings: Settings,
        out: Place,
    },
    /// From bytes of the arena, which describe no job.
    CreateOfNone {
        bytes: Place,
        len: Count,
        out: Place,
    },
    Free(Which),
    LayerCount {
        job: Which,
        out: Place,
    },
    LayerName {
        job: Which,
        index: Index,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    LayerDone {
        job: Which,
        index: Index,
        out: Place,
    },
    RunLayer {
        job: Which,
        index: Index,
        cancel_at: u8,
    },
    LayerShape {
        job: Which,
        index: Index,
        rows: Place,
        cols: Place,
    },
    RunLayerOnHessian {
        job: Which,
        index: Index,
        hessian: Hessian,
        tokens: u64,
        cancel_at: u8,
    },
    RunLayerOnPairs {
        job: Which,
        index: Index,
        accumulator: Which,
        cancel_at: u8,
    },
    LayerWeight {
        job: Which,
        index: Index,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    LayerFactorization {
        job: Which,
        index: Index,
        out: Place,
    },
    ReplaceLayer {
        job: Which,
        index: Index,
        factorization: Which,
    },
    Finish(Which),
    Plan {
        job: Which,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
    Report {
        job: Which,
        buffer: Place,
        capacity: Count,
        needed: Place,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Index {
    Few(u8),
    Huge(u8),
}

impl Index {
    fn get(self) -> usize {
        match self {
            Index::Few(index) => (index % 4).into(),
            Index::Huge(less) => usize::MAX - usize::from(less),
        }
    }
}

/// Settings of a job on the tiny checkpoint.
#[derive(Arbitrary, Debug)]
pub struct Settings {
    folder: bool,
    /// Whether the caller calibrates.
    of_caller: bool,
    resume: bool,
    iterations: u8,
    threads: u8,
    /// Which of [`KEYS`] follow.
    keys: Vec<u8>,
    /// Whatever follows them.
    rest: Vec<u8>,
    damage: Damage,
}

/// The weights of the tiny checkpoint. They would grow, so they are left alone unless they are named.
const INCLUDE: [&str; 1] = ["?.weight"];

const KEYS: [&str; 34] = [
    r#""format":"factors""#,
    r#""format":"dense-core""#,
    r#""format":"sparse-24-bitmask""#,
    r#""format":"cutlass""#,
    r#""format":"reconstructed""#,
    r#""dtype":"f32""#,
    r#""dtype":"bf16""#,
    r#""dtype":"f64""#,
    r#""block":4"#,
    r#""block":[3,8]"#,
    r#""block":0"#,
    r#""pattern":"1:2""#,
    r#""pattern":"3:8""#,
    r#""pattern":"4:4""#,
    r#""preset":"paper""#,
    r#""objective":"full""#,
    r#""shrinkage":0.25"#,
    r#""shrinkage":-1"#,
    r#""row_weighting":"uniform""#,
    r#""row_weighting":"nowag""#,
    r#""temperature":0"#,
    r#""temperature":1e999"#,
    r#""seed":18446744073709551615"#,
    r#""check_values":false"#,
    r#""include":["*"]"#,
    r#""include":["b.*"]"#,
    r#""include":["[a-"]"#,
    r#""exclude":["a.weight"]"#,
    r#""exclude":["*.weight"]"#,
    r#""alias":{"b":"a"}"#,
    r#""alias":{"norm":"a"}"#,
    r#""correction":0.25"#,
    r#""correction_ridge":-1"#,
    r#""unknown":null"#,
];

impl Settings {
    /// Their JSON. Paths come first, and a key that is there twice is refused: the fuzzer can name no path of its own,
    /// no run that takes long, and no pool.
    fn json(&self, handles: &mut Handles) -> Vec<u8> {
        let run = folder().run();
        std::fs::create_dir_all(&run).expect("a folder");
        handles.asked += 1;
        let mut checkpoint = folder().checkpoint();
        if !self.damage.is_none() {
            // Of a name of its own, for an earlier job may read its checkpoint still.
            checkpoint = run.join(format!("damaged-{}", handles.asked));
            folder().damaged(&checkpoint, &self.damage);
        }
        let mut head = serde_json::json!({
            "checkpoint": checkpoint,
            "out": run.join(if self.folder { "out" } else { "another" }),
            "iterations": self.iterations % 4,
            "threads": if self.threads < 250 { 0 } else { usize::from(self.threads) << 8 },
            "resume": self.resume,
        });
        if !self.of_caller {
            head["hessians"] = serde_json::json!(folder().hessians());
        }
        let keys = self.keys.iter().take(4).map(|key| KEYS[usize::from(*key) % KEYS.len()]);
        if !keys.clone().any(|key| key.starts_with(r#""include""#)) {
            head["include"] = serde_json::json!(INCLUDE);
        }
        let mut json = head.to_string().into_bytes();
        json.pop();
        for key in keys {
            json.push(b',');
            json.extend(key.bytes());
        }
        if !self.rest.is_empty() {
            json.push(b',');
            json.extend(&self.rest);
        }
        json.push(b'}');
        json
    }
}

impl JobCall {
    pub unsafe fn make(self, memory: &mut Memory, handles: &mut Handles) -> u32 {
        // SAFETY: passed on.
        unsafe {
            match self {
                JobCall::Create { settings, out } => {
                    let json = settings.json(handles);
                    let out = memory.pointer(out, 1);
                    let status = armor_job_create(json.as_ptr(), json.len(), out);
                    if status == ARMOR_OK {
                        handles.jobs.push(out.read());
                    }
                    status
                }
                JobCall::CreateOfNone { bytes, len, out } => {
                    let len = Memory::count::<u8>(bytes, len, None);
                    let mut bytes = memory.pointer::<u8>(bytes, len);
                    let there = memory.holds(bytes, len);
                    if there.is_some_and(|bytes| serde_json::from_slice::<IgnoredAny>(bytes).is_ok()) {
                        bytes = std::ptr::null_mut();
                    }
                    let status = armor_job_create(bytes, len, memory.pointer(out, 1));
                    assert_ne!(status, ARMOR_OK);
                    status
                }
                JobCall::Free(which) => armor_job_free(handles.take_job(which)),
                JobCall::LayerCount { job, out } => armor_job_layer_count(handles.job(job), memory.pointer(out, 1)),
                JobCall::LayerName { job, index, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_job_layer_name(handles.job(job), index.get(), buffer, len, needed)
                }
                JobCall::LayerDone { job, index, out } => {
                    armor_job_layer_done(handles.job(job), index.get(), memory.pointer(out, 1))
                }
                JobCall::RunLayer { job, index, cancel_at } => {
                    let mut left = cancel_at % 4 + 1;
                    let progress: ProgressFn = if cancel_at.is_multiple_of(2) { Some(count_down) } else { None };
                    armor_job_run_layer(handles.job(job), index.get(), progress, (&raw mut left).cast())
                }
                JobCall::LayerShape { job, index, rows, cols } => {
                    let (rows, cols) = (memory.pointer(rows, 1), memory.pointer(cols, 1));
                    armor_job_layer_shape(handles.job(job), index.get(), rows, cols)
                }
                JobCall::RunLayerOnHessian { job, index, hessian, tokens, cancel_at } => {
                    let (job, index) = (handles.job(job), index.get());
                    let hessian = hessian.view(memory, if index == 0 { 8 } else { 4 });
                    let hessian = hessian.as_ref().map_or(std::ptr::null(), |view| &raw const *view);
                    let mut left = cancel_at % 4 + 1;
                    let progress: ProgressFn = if cancel_at.is_multiple_of(2) { Some(count_down) } else { None };
                    armor_job_run_layer_on_hessian(job, index, hessian, tokens, progress, (&raw mut left).cast())
                }
                JobCall::RunLayerOnPairs { job, index, accumulator, cancel_at } => {
                    let (job, accumulator) = (handles.job(job), handles.pair_accumulator(accumulator));
                    let mut left = cancel_at % 4 + 1;
                    let progress: ProgressFn = if cancel_at.is_multiple_of(2) { Some(count_down) } else { None };
                    armor_job_run_layer_on_pairs(job, index.get(), accumulator, progress, (&raw mut left).cast())
                }
                JobCall::LayerWeight { job, index, buffer, capacity, needed } => {
                    let len = Memory::count::<f32>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_job_layer_weight(handles.job(job), index.get(), buffer, len, needed)
                }
                JobCall::LayerFactorization { job, index, out } => {
                    let out = memory.pointer(out, 1);
                    let status = armor_job_layer_factorization(handles.job(job), index.get(), out);
                    if status == ARMOR_OK {
                        handles.factorizations.push(out.read());
                    }
                    status
                }
                JobCall::ReplaceLayer { job, index, factorization } => {
                    let (job, factorization) = (handles.job(job), handles.factorization(factorization));
                    armor_job_replace_layer(job, index.get(), factorization)
                }
                JobCall::Finish(which) => armor_job_finish(handles.job(which)),
                JobCall::Plan { job, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_job_plan(handles.job(job), buffer, len, needed)
                }
                JobCall::Report { job, buffer, capacity, needed } => {
                    let len = Memory::count::<u8>(buffer, capacity, None);
                    let (buffer, needed) = (memory.pointer(buffer, len), memory.pointer(needed, 1));
                    armor_job_report(handles.job(job), buffer, len, needed)
                }
            }
        }
    }
}

/// Runs the job that is there from the start to its end.
pub fn finished() -> *mut JobHandle {
    let json = serde_json::json!({
        "checkpoint": folder().checkpoint(), "hessians": folder().hessians(), "out": folder().finished(), "iterations": 2,
        "include": INCLUDE
    });
    let (json, mut job) = (json.to_string(), std::ptr::null_mut());
    // SAFETY: all memory is this function's.
    unsafe {
        assert_eq!(armor_job_create(json.as_ptr(), json.len(), &mut job), ARMOR_OK);
        for index in 0..2 {
            assert_eq!(armor_job_run_layer(job, index, None, std::ptr::null_mut()), ARMOR_OK);
        }
        assert_eq!(armor_job_finish(job), ARMOR_OK);
    }
    job
}
