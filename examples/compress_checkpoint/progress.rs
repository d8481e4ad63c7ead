//! Bars: one for the whole job, with the time left, and one for each layer in flight.

use std::collections::BTreeMap;
use std::sync::Mutex;

use armor_core::checkpoint::{CheckpointError, Event, Job};
use armor_core::{Phase, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::terminal::plain;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}

/// Reads all weights once, so that a bad one is found now and not in hours.
pub fn checked(job: &Job) -> Result<(), CheckpointError> {
    let bar = ProgressBar::new(job.layers().len() as u64).with_style(style("checking values {bar:30} {pos}/{len}"));
    let result = job.check_values(&|done, _| bar.set_position(done as u64));
    bar.finish_and_clear();
    result
}

/// Compresses what is not done yet.
pub fn compressed(job: &Job, in_flight: usize) -> Result<(), CheckpointError> {
    let bars = Bars::new(job);
    let result = job.run(in_flight, &|event| bars.show(event));
    bars.all.finish_and_clear();
    result
}

/// Writes the output.
pub fn written(job: &Job) -> Result<(), CheckpointError> {
    let bar = ProgressBar::new(job.layers().len() as u64).with_style(style("writing {bar:30} {pos}/{len}"));
    let result = job.finish(&|done, _| bar.set_position(done as u64));
    bar.finish_and_clear();
    result
}

struct Bars<'a> {
    job: &'a Job,
    screen: MultiProgress,
    /// The whole job, counted in entries of weights, so that large layers count for more.
    all: ProgressBar,
    layers: Mutex<BTreeMap<usize, Layer>>,
}

/// A layer in flight: its bar, and how many entries of it are counted already.
struct Layer {
    bar: ProgressBar,
    counted: u64,
}

impl<'a> Bars<'a> {
    fn new(job: &'a Job) -> Self {
        let todo = (0..job.layers().len()).filter(|&index| !job.is_done(index));
        let entries = todo.map(|index| entries(job, index)).sum();
        let screen = MultiProgress::new();
        let all =
            ProgressBar::new(entries).with_style(style("{bar:30} {percent} % {msg} {elapsed} (about {eta} left)"));
        let all = screen.add(all);
        Bars { job, screen, all, layers: Mutex::default() }
    }

    fn show(&self, event: Event) {
        let mut layers = self.layers.lock().expect("showing does not panic");
        match event {
            Event::Started { index } => {
                let bar = ProgressBar::no_length().with_style(style("  {bar:28} {pos}/{len} {prefix} {msg}"));
                let bar = self.screen.add(bar.with_prefix(plain(&self.job.layers()[index].name)));
                layers.insert(index, Layer { bar, counted: 0 });
            }
            Event::Iteration { index, progress } => {
                if let Some(layer) = layers.get_mut(&index) {
                    layer.show(&progress);
                    let share = progress.iteration as f64 / progress.iterations as f64;
                    self.count(layer, (share * entries(self.job, index) as f64) as u64);
                }
            }
            Event::Done { index } => {
                if let Some(mut layer) = layers.remove(&index) {
                    self.count(&mut layer, entries(self.job, index));
                    layer.bar.finish_and_clear();
                    self.screen.remove(&layer.bar);
                }
            }
            _ => {}
        }
    }

    fn count(&self, layer: &mut Layer, entries: u64) {
        self.all.inc(entries - layer.counted);
        layer.counted = entries;
    }
}

impl Layer {
    fn show(&self, progress: &Progress) {
        self.bar.set_length(progress.iterations as u64);
        self.bar.set_position(progress.iteration as u64);
        let phase = if progress.phase == Phase::Annealing { "annealing" } else { "descending" };
        self.bar.set_message(format!("{phase}, loss {:.6}", progress.best_loss));
    }
}

fn entries(job: &Job, index: usize) -> u64 {
    let layer = &job.layers()[index];
    layer.rows as u64 * layer.cols as u64
}
