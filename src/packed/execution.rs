//! How a product runs, and which factors it has.

use crate::error::Error;
use crate::kernels::instructions::InstructionSet;
use crate::kernels::pool;

/// The instruction set and the number of threads of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    pub set: InstructionSet,
    /// 1, or the threads of the current pool.
    pub threads: usize,
}

impl Execution {
    /// Takes the best instruction set and all threads of the current pool.
    ///
    /// # Errors
    /// [`Error::Threads`] where the system gives no threads.
    pub fn best() -> Result<Self, Error> {
        Ok(Execution { set: InstructionSet::best(), threads: pool::threads()? })
    }
}

/// The factors that x is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FactorSelection {
    /// A, S and B.
    All,
    /// S.
    Core,
}
