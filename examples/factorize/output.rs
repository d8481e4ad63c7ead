//! Shows a result: the table, and the files.

use std::path::Path;

use armor_core::{Factorization, Pattern};
use plotters::prelude::*;
use serde_json::json;

use crate::common::Result;
use crate::common::files::put;
use crate::common::terminal::{plain, say};
use crate::common::ticks::ticks;

/// A finished run and what it was asked for.
pub struct Summary<'a> {
    pub name: &'a str,
    pub preset: &'a str,
    pub pattern: Pattern,
    pub seed: u64,
    pub threads: usize,
    pub objective: &'a str,
    /// As asked for; the library's default where it was not.
    pub shrinkage: Option<f64>,
    pub row_weighting: &'a str,
    pub result: &'a Factorization,
    pub errors: OutputErrors,
}

/// Relative output errors under whole Hessians, where they are known.
pub struct OutputErrors {
    pub fitted: Option<f64>,
    pub heldout: Option<f64>,
}

impl Summary<'_> {
    pub fn print(&self) -> Result<()> {
        let r = self.result;
        let (rows, cols) = (r.core().rows(), r.core().cols());
        let lower = if r.nowag_p_loss() > 0.0 { 100.0 * (1.0 - r.loss() / r.nowag_p_loss()) } else { 0.0 };
        let seconds = r.elapsed().as_secs_f64();
        let line = |label: &str, value: String| say(format!("{label:<22}{value}"));
        line("layer", format!("{} ({rows} × {cols})", plain(self.name)))?;
        line(
            "factors",
            format!(
                "{} core, blocks of {} and {}, preset {}",
                self.pattern,
                r.left().block_size(),
                r.right().block_size(),
                self.preset
            ),
        )?;
        line("loss of NoWag-P", format!("{:.6}", r.nowag_p_loss()))?;
        line("loss", format!("{:.6}  ({lower:.1} % lower)", r.loss()))?;
        if let Some(error) = self.errors.fitted {
            line("output error", format!("{error:.6}  under the whole Hessian"))?;
        }
        if let Some(error) = self.errors.heldout {
            line("held out", format!("{error:.6}  under the whole Hessian of another text"))?;
        }
        if r.ridge() > 0.0 {
            line("ridge", format!("{:e} added to the inputs' correlation", r.ridge()))?;
        }
        match r.dead_inputs() {
            0 => {}
            dead if dead == cols => line("inputs", "the Hessian is all zeros: every input counts alike".to_owned())?,
            dead => line(
                "inputs",
                format!("{dead} of {cols} inputs are zero on all calibration tokens; they do not count"),
            )?,
        }
        line("wrapper overhead", format!("{:.2} % of the weight's entries", 100.0 * r.overhead()))?;
        for (dtype, bytes) in [("f32", 4), ("f16", 2)] {
            let (stored, dense) = (r.stored_bytes(bytes), rows * cols * bytes);
            let share = 100.0 * stored as f64 / dense as f64;
            line(&format!("size in {dtype}"), format!("{stored} bytes, {share:.1} % of dense ({dense})"))?;
        }
        let done = r.iterations();
        line("iterations", format!("{done} (stopped: {})", r.stop_reason().as_str()))?;
        line("time", format!("{seconds:.2} s, {:.2} ms an iteration", 1e3 * seconds / done as f64))?;
        Ok(())
    }

    /// Writes the three files into `folder`, which exists; each appears whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let stem = self.name.strip_suffix(".weight").unwrap_or(self.name);
        put(folder, "factors.safetensors", &self.result.to_safetensors(stem)?)?;
        put(folder, "report.json", format!("{:#}\n", self.report()).as_bytes())?;
        put(folder, "loss.svg", self.plot()?.as_bytes())
    }

    fn report(&self) -> serde_json::Value {
        let r = self.result;
        let seconds = r.elapsed().as_secs_f64();
        json!({
            "name": self.name,
            "rows": r.core().rows(),
            "cols": r.core().cols(),
            "preset": self.preset,
            "objective": self.objective,
            "shrinkage": self.shrinkage,
            "row_weighting": self.row_weighting,
            "pattern": self.pattern.to_string(),
            "left_block": r.left().block_size(),
            "right_block": r.right().block_size(),
            "nowag_p_loss": r.nowag_p_loss(),
            "loss": r.loss(),
            "output_error": self.errors.fitted,
            "output_error_heldout": self.errors.heldout,
            "ridge": r.ridge(),
            "dead_inputs": r.dead_inputs(),
            "history": r.history(),
            "iterations": r.iterations(),
            "seconds": seconds,
            "seconds_per_iteration": seconds / r.iterations() as f64,
            "overhead": r.overhead(),
            "stop_reason": r.stop_reason().as_str(),
            "threads": self.threads,
            "seed": self.seed,
        })
    }

    /// Loss over iterations on a logarithmic axis, NoWag-P as a line.
    fn plot(&self) -> Result<String> {
        let history = self.result.history();
        let nowag = self.result.nowag_p_loss();
        let positive = || history.iter().copied().chain([nowag]).filter(|&loss| loss > 0.0);
        let lowest = positive().fold(1.0, f64::min) / 1.1;
        let highest = positive().fold(lowest, f64::max) * 1.1;
        // Room for the legend above the curves.
        let highest = highest * (highest / lowest).powf(0.2);
        let last = self.result.iterations().max(1);
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (800, 480)).into_drawing_area();
            root.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&root)
                .caption(format!("{} ({})", self.name, self.preset), ("sans-serif", 18))
                .margin(16)
                .x_label_area_size(44)
                .y_label_area_size(72)
                .build_cartesian_2d(0..last, (lowest..highest).log_scale().with_key_points(ticks(lowest, highest)))?;
            chart
                .configure_mesh()
                .x_desc("iteration")
                .y_desc("relative proxy loss")
                .y_label_formatter(&|loss| loss.to_string())
                .disable_x_mesh()
                .draw()?;
            let points = history.iter().map(|&loss| loss.max(lowest)).enumerate();
            chart
                .draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?
                .label("A · S · B")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLUE.stroke_width(2)));
            chart
                .draw_series(LineSeries::new([(0, nowag.max(lowest)), (last, nowag.max(lowest))], RED.stroke_width(2)))?
                .label("NoWag-P")
                .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], RED.stroke_width(2)));
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .background_style(WHITE)
                .border_style(BLACK)
                .draw()?;
            root.present()?;
        }
        Ok(svg)
    }
}
