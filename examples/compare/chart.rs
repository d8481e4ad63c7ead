//! The bar chart: output errors of all methods on a logarithmic axis.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::common::Result;
use crate::common::ticks::ticks;
use crate::methods::Row;

/// Bars of one kind: the errors of all methods under one Hessian.
struct Series {
    label: &'static str,
    errors: Vec<Option<f64>>,
    /// Left and right edge of a bar within its method's unit of the axis.
    edges: (f64, f64),
    colour: RGBAColor,
}

impl Series {
    /// One for the calibration Hessian, and one for the held-out Hessian where there is any.
    fn of(rows: &[Row]) -> Vec<Series> {
        let series = |label, error: fn(&Row) -> Option<f64>, edges, colour: RGBColor| Series {
            label,
            errors: rows.iter().map(error).collect(),
            edges,
            colour: colour.mix(0.7),
        };
        let calibration = series("calibration", |row| Some(row.output_error), (0.12, 0.48), BLUE);
        let heldout = series("held out", |row| row.heldout_error, (0.52, 0.88), RED);
        [calibration, heldout].into_iter().filter(|series| series.errors.iter().any(Option::is_some)).collect()
    }

    /// Left edge, right edge and height of each bar.
    fn bars(&self) -> impl Iterator<Item = (f64, f64, f64)> + '_ {
        let bar = |(index, error): (usize, &Option<f64>)| {
            error.map(|error| (index as f64 + self.edges.0, index as f64 + self.edges.1, error))
        };
        self.errors.iter().enumerate().filter_map(bar)
    }
}

/// Text of this size, anchored at the middle of its upper or lower edge.
fn text(size: u32, edge: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Center, edge))
}

/// Draws the chart as SVG text.
pub fn draw(name: &str, rows: &[Row]) -> Result<String> {
    let all = Series::of(rows);
    let positive = || all.iter().flat_map(Series::bars).map(|bar| bar.2).filter(|&error| error > 0.0);
    let lowest = positive().fold(1.0, f64::min) / 2.0;
    let highest = positive().fold(lowest, f64::max);
    // Room for the legend above the bars.
    let highest = 1.2 * highest * (highest / lowest).powf(0.2);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (900, 480)).into_drawing_area();
        root.fill(&WHITE)?;
        let errors = (lowest..highest).log_scale().with_key_points(ticks(lowest, highest));
        let mut chart = ChartBuilder::on(&root)
            .caption(name, ("sans-serif", 18))
            .margin(16)
            .x_label_area_size(32)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..rows.len() as f64, errors)?;
        let format = |error: &f64| error.to_string();
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).y_desc("relative output error").y_label_formatter(&format).draw()?;
        for (index, row) in rows.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(index as f64 + 0.5, lowest));
            root.draw(&Text::new(row.method, (x, y + 8), text(13, VPos::Top)))?;
        }
        for series in &all {
            let colour = series.colour.filled();
            let bar = |(left, right, error): (f64, f64, f64)| {
                Rectangle::new([(left, lowest), (right, error.max(lowest))], colour)
            };
            chart
                .draw_series(series.bars().map(bar))?
                .label(series.label)
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 20, y + 5)], colour));
            chart.draw_series(series.bars().map(|(left, right, error)| {
                let above = ((left + right) / 2.0, error.max(lowest));
                Text::new(number(error), above, text(11, VPos::Bottom))
            }))?;
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperRight).background_style(WHITE).border_style(BLACK).draw()?;
        root.present()?;
    }
    Ok(svg)
}

/// Three significant digits.
fn number(error: f64) -> String {
    if error > 0.0 {
        let decimals = (2.0 - error.log10().floor()).clamp(0.0, 9.0);
        format!("{error:.*}", decimals as usize)
    } else {
        "0".to_owned()
    }
}
