//! The numeric base: instruction sets, products and solves, threads and their working memory.

pub(crate) mod elementwise;
pub(crate) mod instructions;
pub(crate) mod linalg;
pub(crate) mod pool;
pub(crate) mod scratch;
