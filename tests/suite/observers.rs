//! Observers: what they see, and that they can cancel.

use super::layer::{SMALL, Small};
use super::library::{Change, Library, Parts, Preset, Seen, done};

/// Iterations of a run that is watched.
const WATCHED: usize = if cfg!(miri) { 2 } else { 4 };

fn watched<L: Library>() -> L::Options {
    L::changed(Preset::Exact, &[&SMALL[..], &[Change::Iterations(WATCHED)]].concat())
}

/// Runs the small layer, and cancels after one iteration, if any.
fn run<L: Library>(options: &L::Options, cancel_at: usize) -> (Parts, Vec<Seen>) {
    let (small, mut seen) = (Small::new(), Vec::new());
    let mut observer = |now: Seen| {
        seen.push(now);
        now.iteration != cancel_at
    };
    let result = done(L::observe(&small.input(), options, &mut observer));
    (L::parts(&result), seen)
}

pub fn they_see_every_iteration<L: Library>() {
    // The threads of Miri take turns, and two that wait for each other take long.
    let pools: &[usize] = if cfg!(miri) { &[0] } else { &[0, 2] };
    for &threads in pools {
        let mut options = watched::<L>();
        done(L::change(&mut options, Change::Threads(threads)));
        let (parts, seen) = run::<L>(&options, 0);
        let iterations: Vec<_> = seen.iter().map(|now| (now.iteration, now.iterations)).collect();
        assert_eq!(iterations, (1..=WATCHED).map(|iteration| (iteration, WATCHED)).collect::<Vec<_>>());
        assert_eq!(seen.iter().map(|now| now.loss).collect::<Vec<_>>(), parts.history[1..]);
        assert!(seen.iter().all(|now| now.best_loss <= now.loss && now.seconds >= 0.0));
        assert!(
            seen.windows(2).all(|pair| pair[1].best_loss <= pair[0].best_loss && pair[1].seconds >= pair[0].seconds)
        );
        assert_eq!((seen[0].annealing, seen[WATCHED - 1].annealing), (true, false));
        assert_eq!(parts.stop_reason, "iterations");
        parts.assert_same_bits(&Small::new().parts::<L>(&options));
    }
}

pub fn they_cancel<L: Library>() {
    let (parts, seen) = run::<L>(&watched::<L>(), 2);
    assert_eq!(seen.len(), 2);
    assert_eq!((parts.iterations, parts.stop_reason.as_str()), (2, "cancelled"));
    assert_eq!(parts.history.len(), 3);
    assert!(parts.losses[0] <= parts.losses[1]);
}
