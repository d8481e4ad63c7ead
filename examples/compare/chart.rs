//! The bar chart: output errors of all methods on a logarithmic axis.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::common::Result;
use crate::common::ticks::ticks;
use crate::methods::Row;

/// A bar's left and right edge within its method's unit of the axis.
const CALIBRATION: (f64, f64) = (0.12, 0.48);
const HELD_OUT: (f64, f64) = (0.52, 0.88);

/// Draws the chart as SVG text.
pub fn draw(name: &str, rows: &[Row]) -> Result<String> {
    let errors = |of: fn(&Row) -> Option<f64>| rows.iter().map(of).collect::<Vec<_>>();
    let mut series = vec![("calibration", errors(|row| Some(row.output_error)), CALIBRATION, BLUE.mix(0.7))];
    if rows.iter().any(|row| row.heldout_error.is_some()) {
        series.push(("held out", errors(|row| row.heldout_error), HELD_OUT, RED.mix(0.7)));
    }
    let positive = || series.iter().flat_map(|series| series.1.iter().flatten()).copied().filter(|&error| error > 0.0);
    let lowest = positive().fold(1.0, f64::min) / 2.0;
    let highest = positive().fold(lowest, f64::max);
    // Room for the legend above the bars.
    let highest = 1.2 * highest * (highest / lowest).powf(0.2);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 480)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(name, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(32)
            .y_label_area_size(72)
            .build_cartesian_2d(
                0.0..rows.len() as f64,
                (lowest..highest).log_scale().with_key_points(ticks(lowest, highest)),
            )?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_desc("relative output error")
            .y_label_formatter(&|error| error.to_string())
            .draw()?;
        for (index, row) in rows.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(index as f64 + 0.5, lowest));
            let style = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
            root.draw(&Text::new(row.method, (x, y + 8), style))?;
        }
        for (label, errors, edges, colour) in &series {
            let bars = || errors.iter().enumerate().filter_map(|(index, error)| Some((index as f64, (*error)?)));
            chart
                .draw_series(bars().map(|(at, error)| {
                    let (left, right) = (at + edges.0, at + edges.1);
                    Rectangle::new([(left, lowest), (right, error.max(lowest))], colour.filled())
                }))?
                .label(*label)
                .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], colour.filled()));
            let style = ("sans-serif", 11).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Bottom));
            chart.draw_series(bars().map(|(at, error)| {
                let middle = at + (edges.0 + edges.1) / 2.0;
                Text::new(format!("{error:.4}"), (middle, error.max(lowest)), style.clone())
            }))?;
        }
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
