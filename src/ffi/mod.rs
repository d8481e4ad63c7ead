//! The C ABI (feature `capi`): every exported function, and all access to the caller's pointers.
//!
//! Rust programs use the crate itself. This module generates `include/armor.h`; `docs/c-api.md` is its manual.
//!
//! # Safety
//!
//! All functions have the same contract. A call refuses pointers that are NULL, misaligned, overlapping or too long. The
//! caller must guarantee the rest: each pointer points to as much memory as the sizes say, the memory is initialised if
//! the call reads it, and nothing else writes it during the call. A handle comes from this library and is not freed. A
//! string ends with a NUL byte.

#![allow(clippy::missing_safety_doc, reason = "all functions share the contract of this module")]

mod accumulator;
mod buffer;
mod factorization;
mod failure;
mod guard;
#[cfg(feature = "checkpoint")]
mod job;
#[cfg(feature = "checkpoint")]
mod job_layer;
mod locked;
mod messages;
mod opaque;
mod options;
mod packed;
mod pair_accumulator;
mod pointer;
mod progress;
mod serialized;
mod status;
mod version;
mod view;

pub use accumulator::{
    AccumulatorHandle, armor_accumulator_add, armor_accumulator_copy, armor_accumulator_create,
    armor_accumulator_deserialize, armor_accumulator_free, armor_accumulator_merge, armor_accumulator_serialize,
    armor_accumulator_tokens,
};
pub use factorization::{
    ARMOR_STOP_CANCELLED, ARMOR_STOP_CONVERGED, ARMOR_STOP_ITERATIONS, ARMOR_STOP_TIME_BUDGET, FactorizationHandle,
    FactorizationSizes, RunReport, armor_factorization_apply, armor_factorization_copy_core_bitmask,
    armor_factorization_copy_core_dense, armor_factorization_copy_core_values, armor_factorization_copy_history,
    armor_factorization_copy_left, armor_factorization_copy_right, armor_factorization_deserialize,
    armor_factorization_free, armor_factorization_get_report, armor_factorization_get_sizes,
    armor_factorization_output_error, armor_factorization_reconstruct, armor_factorization_serialize, armor_factorize,
    armor_stop_reason_name,
};
#[cfg(feature = "checkpoint")]
pub use job::{
    JobHandle, armor_job_create, armor_job_finish, armor_job_free, armor_job_layer_count, armor_job_layer_done,
    armor_job_layer_name, armor_job_plan, armor_job_report, armor_job_run_layer,
};
#[cfg(feature = "checkpoint")]
pub use job_layer::{
    armor_job_layer_factorization, armor_job_layer_shape, armor_job_layer_weight, armor_job_replace_layer,
    armor_job_run_layer_on_hessian, armor_job_run_layer_on_pairs,
};
pub use messages::{armor_last_error_message, armor_status_message};
pub use options::{
    ARMOR_METHOD_EXACT, ARMOR_METHOD_GRADIENT, ARMOR_METHOD_PAPER, ARMOR_OBJECTIVE_DIAGONAL, ARMOR_OBJECTIVE_FULL,
    ARMOR_PRESET_EXACT, ARMOR_PRESET_PAPER, ARMOR_ROWS_NOWAG, ARMOR_ROWS_UNIFORM, OptionsHandle, armor_options_create,
    armor_options_free, armor_options_from_json, armor_options_set_iterations, armor_options_set_learning_rate,
    armor_options_set_left_block, armor_options_set_max_extrapolation, armor_options_set_memory_limit,
    armor_options_set_method, armor_options_set_objective, armor_options_set_patience, armor_options_set_pattern,
    armor_options_set_right_block, armor_options_set_row_weighting, armor_options_set_seed,
    armor_options_set_shrinkage, armor_options_set_temperature, armor_options_set_threads,
    armor_options_set_time_budget, armor_options_set_tolerance, armor_options_to_json,
};
pub use packed::{
    PackedHandle, PackedSizes, armor_packed_apply, armor_packed_apply_batch, armor_packed_create, armor_packed_free,
    armor_packed_get_sizes, armor_packed_scratch_len, armor_packed_unpack,
};
pub use pair_accumulator::{
    CorrectionReport, PairAccumulatorHandle, armor_pair_accumulator_add, armor_pair_accumulator_copy_hessian,
    armor_pair_accumulator_correct, armor_pair_accumulator_create, armor_pair_accumulator_deserialize,
    armor_pair_accumulator_free, armor_pair_accumulator_merge, armor_pair_accumulator_output_error,
    armor_pair_accumulator_serialize, armor_pair_accumulator_tokens,
};
pub use progress::{ARMOR_PHASE_ANNEALING, ARMOR_PHASE_DESCENDING, ProgressFn, RunProgress};
pub use status::{
    ARMOR_ASYMMETRIC, ARMOR_BUFFER_TOO_SMALL, ARMOR_CANCELLED, ARMOR_FILE, ARMOR_HESSIAN_NOT_FULL, ARMOR_INVALID_BYTES,
    ARMOR_INVALID_CHECKPOINT, ARMOR_INVALID_SETTINGS, ARMOR_INVALID_SHAPE, ARMOR_INVALID_TEXT, ARMOR_JOB_UNFINISHED,
    ARMOR_MEMORY_LIMIT, ARMOR_MISALIGNED, ARMOR_NEGATIVE, ARMOR_NO_SUCH_LAYER, ARMOR_NOT_FINITE, ARMOR_NULL_POINTER,
    ARMOR_OK, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_OTHER_JOB, ARMOR_OVERLAP, ARMOR_PANIC, ARMOR_SIZE_OVERFLOW,
    ARMOR_STRUCT_SIZE, ARMOR_THREADS, ARMOR_UNKNOWN_DTYPE, ARMOR_UNKNOWN_VALUE, ARMOR_UNREPRESENTABLE,
    ARMOR_WRONG_HANDLE,
};
pub use version::{
    ARMOR_ABI_VERSION, ARMOR_FEATURE_CHECKPOINT, ARMOR_FEATURE_LAPACK, armor_abi_version, armor_features, armor_version,
};
pub use view::{
    ARMOR_DTYPE_BF16, ARMOR_DTYPE_F16, ARMOR_DTYPE_F32, ARMOR_DTYPE_F64, ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL,
    ARMOR_HESSIAN_IDENTITY, HessianView, MatrixView,
};
