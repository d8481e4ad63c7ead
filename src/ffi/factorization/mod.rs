//! The handle of a factorised layer: everything that a C program does with it.

mod copy;
mod create;
pub(super) mod handle;
mod output_error;
mod report;
mod serialize;
mod sizes;

pub use copy::{
    armor_factorization_apply, armor_factorization_copy_core_bitmask, armor_factorization_copy_core_dense,
    armor_factorization_copy_core_values, armor_factorization_copy_history, armor_factorization_copy_left,
    armor_factorization_copy_right, armor_factorization_reconstruct,
};
pub use create::armor_factorize;
pub use handle::{FactorizationHandle, armor_factorization_free};
pub use output_error::armor_factorization_output_error;
pub use report::{
    ARMOR_STOP_CANCELLED, ARMOR_STOP_CONVERGED, ARMOR_STOP_ITERATIONS, ARMOR_STOP_TIME_BUDGET, RunReport,
    armor_factorization_get_report, armor_stop_reason_name,
};
pub use serialize::{armor_factorization_deserialize, armor_factorization_serialize};
pub use sizes::{FactorizationSizes, armor_factorization_get_sizes};
