//! A factorisation in the memory order that fast kernels read: y = A (S (B x)) at the bandwidth of memory.
//!
//! Every packed matrix is a stream of cache lines. Sixteen rows make a *panel*, one SIMD lane for each row, and four
//! panels make a *strip*, which one thread multiplies from the first column to the last. The threads are woken once for
//! a product and go through its three stages together, so the vectors between the stages stay in their caches. From
//! sixty-four vectors on, the vectors are *interleaved*: entry i of all of them is one row in memory, and SIMD lanes are
//! vectors instead of rows.

mod any_pattern;
mod bytes;
mod core;
mod dense_kernel;
pub(crate) mod execution;
mod factorization;
mod factors;
mod input;
mod interleaved_product;
mod large_pages;
mod matrix_kernel;
mod multiply;
mod non_finite;
mod number;
#[allow(unsafe_code, reason = "the threads of a stage write disjoint entries of the same vectors")]
mod output_rows;
#[allow(unsafe_code, reason = "a stage reads what the threads of the stage before it have written")]
mod stages;
mod strip;
mod team;
mod two_four_codes;
mod two_four_core;
mod two_four_kernel;
mod vector_product;
mod vectors;
mod workspace;
mod wrapper;

pub use bytes::PackedBytes;
pub use factorization::PackedFactorization;
