//! Runs a descent under a progress bar.

use std::ops::ControlFlow;

use armor_core::{Descent, Error, Factorization, Options, Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// Makes a descent of these options with a progress bar as its observer, and hands it to `run`.
pub fn descend(
    options: &Options,
    run: impl FnOnce(Descent<'_>) -> Result<Factorization, Error>,
) -> Result<Factorization, Error> {
    let bar = ProgressBar::no_length().with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed} (about {eta} left)")
            .expect("the template is well formed"),
    );
    let show = |progress: &Progress| {
        bar.set_length(progress.iterations as u64);
        bar.set_position(progress.iteration as u64);
        let phase = if progress.phase == Phase::Annealing { "annealing" } else { "descending" };
        bar.set_message(format!("{phase}, loss {:.6}, best {:.6}", progress.loss, progress.best_loss));
        ControlFlow::Continue(())
    };
    let result = run(Descent::new(options)?.observer(show));
    bar.finish_and_clear();
    result
}
