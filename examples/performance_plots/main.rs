//! Draws what the benches wrote: `docs/loss.svg` (loss over seconds of both presets), `docs/scaling.svg` (seconds of an
//! iteration against the size of the layer) and `docs/apply.svg` (packed layers against dense ones).
//!
//! Run `cargo bench --bench time_to_loss`, `scaling` and `apply` first, then
//! `cargo run --release --example performance_plots`, with the names of pictures to draw these alone.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SIZE: (u32, u32) = (800, 480);

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let measured = root.join("target/performance");
    let docs = root.join("docs");
    let names: Vec<String> = std::env::args().skip(1).collect();
    let pictures: [(&str, Paint); 3] = [("loss", draw_loss), ("scaling", draw_scaling), ("apply", draw_apply)];
    for (name, paint) in pictures {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            draw(&docs.join(format!("{name}.svg")), &measured.join(format!("{name}.csv")), paint)?;
        }
    }
    Ok(())
}

/// Draws the records of a file.
type Paint = fn(&DrawingArea<SVGBackend<'_>, Shift>, &[Record]) -> Result<()>;

/// A line of a file, by column.
type Record = Vec<String>;

fn draw(picture: &Path, table: &Path, paint: Paint) -> Result<()> {
    let text =
        fs::read_to_string(table).map_err(|error| format!("{}: {error}; run the bench first", table.display()))?;
    let records: Vec<Record> = text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
    let area = SVGBackend::new(picture, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    paint(&area, &records)?;
    area.present()?;
    println!("{}", picture.display());
    Ok(())
}

fn number(record: &[String], column: usize) -> Result<f64> {
    let text = record.get(column).ok_or("a line is too short")?;
    text.parse().map_err(|_| format!("{text} is not a number").into())
}

fn draw_loss(area: &DrawingArea<SVGBackend<'_>, Shift>, records: &[Record]) -> Result<()> {
    let curve = |preset: &str| -> Result<Vec<(f64, f64)>> {
        let records = records.iter().filter(|record| record.first().is_some_and(|name| name == preset));
        records.map(|record| Ok((number(record, 1)?, number(record, 2)?))).collect()
    };
    let curves = [("exact", curve("exact")?, BLUE), ("paper", curve("paper")?, RED)];
    let points = || curves.iter().flat_map(|(_, curve, _)| curve);
    let longest = points().map(|point| point.0).fold(0.0, f64::max);
    let lowest = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("gate_proj, 1536 × 576, block 64, two threads", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((0.01..longest).log_scale(), 0.9 * lowest..1.05 * highest)?;
    chart.configure_mesh().x_desc("seconds").y_desc("relative proxy loss, best so far").draw()?;
    for (preset, curve, color) in curves {
        let points = curve.into_iter().map(|(seconds, loss)| (seconds.max(0.01), loss));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(preset)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}

fn draw_scaling(area: &DrawingArea<SVGBackend<'_>, Shift>, records: &[Record]) -> Result<()> {
    let mut points = Vec::new();
    for record in records {
        points.push((number(record, 0)? * number(record, 1)? / 1e6, 1e3 * number(record, 2)?));
    }
    let &[first, .., last] = points.as_slice() else {
        return Err("scaling.csv holds fewer than two sizes".into());
    };
    let mut chart = ChartBuilder::on(area)
        .caption("an iteration of the default preset, block 128, two threads", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (first.0 / 1.2..last.0 * 1.2).log_scale(),
            (first.1.min(last.1) / 1.5..last.1 * 1.5).log_scale(),
        )?;
    chart.configure_mesh().x_desc("million entries, m · k").y_desc("ms").draw()?;
    let proportional = [first.0, last.0].map(|entries| (entries, last.1 * entries / last.0));
    chart
        .draw_series(LineSeries::new(proportional, BLACK.mix(0.4)))?
        .label("proportional to m · k")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLACK.mix(0.4)));
    chart
        .draw_series(points.iter().map(|&point| Circle::new(point, 4, BLUE.filled())))?
        .label("measured")
        .legend(|(x, y)| Circle::new((x + 10, y), 4, BLUE.filled()));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

/// Speed over that of the dense product against the batch, for every shape and precision, on two threads.
fn draw_apply(area: &DrawingArea<SVGBackend<'_>, Shift>, records: &[Record]) -> Result<()> {
    let times = |record: &Record| Ok(number(record, 7)? / number(record, 9)?);
    let fastest = records.iter().map(times).collect::<Result<Vec<f64>>>()?.into_iter().fold(2.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("packed over dense of the same type, block 128, two threads", ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d((0.8..160.0).log_scale(), 0.0..1.05 * fastest)?;
    chart.configure_mesh().x_desc("vectors of the batch").y_desc("times as fast as dense").draw()?;
    chart.draw_series(LineSeries::new([(0.8, 1.0), (160.0, 1.0)], BLACK.mix(0.4)))?;
    let mut shapes: Vec<[String; 2]> = Vec::new();
    for record in records {
        let shape = [record[0].clone(), record[1].clone()];
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    for (index, [rows, cols]) in shapes.iter().enumerate() {
        for precision in ["f32", "bf16"] {
            let color = Palette99::pick(index).to_rgba().mix(if precision == "f32" { 0.5 } else { 1.0 });
            let mine = |record: &&Record| {
                [&record[0], &record[1], &record[2], &record[4]] == [rows, cols, &"2".to_owned(), &precision.to_owned()]
            };
            let point = |record: &Record| Ok((number(record, 3)?, times(record)?));
            let points = records.iter().filter(mine).map(point).collect::<Result<Vec<(f64, f64)>>>()?;
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(format!("{rows} × {cols}, {precision}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}
