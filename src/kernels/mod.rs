//! The numeric base: instruction sets, products and solves, threads and their working memory.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod cache_line;
pub(crate) mod elementwise;
pub(crate) mod instructions;
pub(crate) mod lanes;
pub(crate) mod linalg;
pub(crate) mod pool;
mod portable;
pub(crate) mod prefetch;
pub(crate) mod scratch;
