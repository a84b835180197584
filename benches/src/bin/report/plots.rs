//! The plots, each as SVG and as PNG.

use std::fs;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use crate::results::{Results, Row, Tail};

const SIZE: (u32, u32) = (900, 560);

/// Subjects that are left out of the plots.
const IN_TABLES_ONLY: [&str; 6] = [
    "papaya, pinned once",
    "scc HashIndex, guarded once",
    "idr-ebr, guarded once",
    "ArcSwap<HashMap>",
    "DashMap<watch>",
    "unsynchronised HashMap",
];

/// One line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// One plot, on logarithmic scales.
struct Plot {
    file: &'static str,
    title: String,
    x: &'static str,
    y: &'static str,
    /// The labels of the marks on the x axis, if they are not the values.
    marks: Vec<String>,
    lines: Vec<Line>,
}

/// Draws all plots for which there are data; returns the names of the SVG files.
pub(crate) fn save(results: &Results, directory: &Path) -> Result<Vec<String>, String> {
    // The bitmap needs a font, and the machine may have none.
    register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT)
        .map_err(|_| "the font cannot be read".to_owned())?;
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut files = Vec::new();
    for plot in plots(results).into_iter().filter(|plot| plot.lines.iter().any(|line| line.points.len() > 1))
    {
        let svg = directory.join(format!("{}.svg", plot.file));
        let png = directory.join(format!("{}.png", plot.file));
        let failed = |error: String| format!("{}: {error}", svg.display());
        draw(&plot, SVGBackend::new(&svg, SIZE).into_drawing_area()).map_err(failed)?;
        draw(&plot, BitMapBackend::new(&png, SIZE).into_drawing_area()).map_err(failed)?;
        files.push(format!("{}.svg", plot.file));
    }
    Ok(files)
}

fn plots(results: &Results) -> Vec<Plot> {
    let mut plots = Vec::new();
    for (file, scenario, tasks) in [
        ("threads-hot", "poll, hot", 1000),
        ("threads-1k", "poll, uniform", 1000),
        ("threads-1m", "poll, uniform", 1_000_000),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "numbers of threads are small")]
        let point = |row: &Row| (row.threads as f64, row.threads as f64 * 1000.0 / row.ns_per_op);
        plots.push(Plot {
            file,
            title: format!("Throughput by threads: {scenario}, {tasks} tasks"),
            x: "threads",
            y: "million polls per second",
            marks: Vec::new(),
            lines: lines(results, |row| row.scenario == scenario && row.tasks == tasks, point),
        });
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of tasks are far below 2^52")]
    let by_size = |row: &Row| (row.tasks as f64, row.ns_per_op);
    plots.push(Plot {
        file: "sizes",
        title: "Latency by size: poll, uniform, 1 thread".to_owned(),
        x: "tasks",
        y: "ns per poll",
        marks: Vec::new(),
        lines: lines(results, |row| row.scenario == "poll, uniform" && row.threads == 1, by_size),
    });
    plots.extend(
        [("tails-steady", "steady"), ("tails-expiry", "expiry")].map(|(file, of)| tails(results, file, of)),
    );
    plots
}

fn lines(results: &Results, is_in: impl Fn(&Row) -> bool, point: impl Fn(&Row) -> (f64, f64)) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in
        results.results.iter().filter(|row| is_in(row) && !IN_TABLES_ONLY.contains(&row.subject.as_str()))
    {
        match lines.iter_mut().find(|line| line.name == row.subject) {
            Some(line) => line.points.push(point(row)),
            None => lines.push(Line { name: row.subject.clone(), points: vec![point(row)] }),
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    lines
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^52")]
fn tails(results: &Results, file: &'static str, of: &str) -> Plot {
    let tails: Vec<&Tail> = results.tails.iter().filter(|tail| tail.scenario.starts_with(of)).collect();
    let line = |tail: &&Tail| {
        let values = [tail.p50, tail.p99, tail.p999, tail.max as f64];
        let points = [1.0, 2.0, 3.0, 4.0].into_iter().zip(values.map(|nanos| nanos / 1000.0));
        Line { name: tail.subject.clone(), points: points.collect() }
    };
    let scenario = tails.first().map(|tail| tail.scenario.clone()).unwrap_or_default();
    Plot {
        file,
        title: format!("Tail of a batch of polls: {scenario}"),
        x: "",
        y: "µs from the intended start",
        marks: ["p50", "p99", "p99.9", "max"].map(str::to_owned).into(),
        lines: tails.iter().map(line).collect(),
    }
}

/// From a little below the least to a little above the greatest.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (least, greatest) = values
        .fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
    least.max(1e-3) * 0.8..greatest.max(2e-3) * 1.25
}

/// Colours that differ in lightness as well as in hue; the first one is for the store.
const COLOURS: [RGBColor; 11] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(26, 133, 90),
    RGBColor(153, 79, 0),
    RGBColor(64, 176, 166),
    RGBColor(211, 95, 183),
    RGBColor(120, 120, 120),
    RGBColor(225, 165, 0),
    RGBColor(90, 40, 140),
    RGBColor(150, 170, 30),
    RGBColor(40, 40, 40),
];

fn draw<B: DrawingBackend>(plot: &Plot, area: DrawingArea<B, Shift>) -> Result<(), String> {
    let text = |error: DrawingAreaErrorKind<B::ErrorType>| error.to_string();
    area.fill(&WHITE).map_err(text)?;
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let (x, y) = (range(points().map(|point| point.0)), range(points().map(|point| point.1)));
    let (area, legend) = area.split_horizontally(SIZE.0 - 250);
    let mut chart = ChartBuilder::on(&area)
        .caption(&plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(x.log_scale(), y.log_scale())
        .map_err(text)?;
    let marks = |value: &f64| {
        let at = value.round();
        if plot.marks.is_empty() {
            return short(*value);
        }
        #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "marks are 1, 2, 3, …")]
        let mark = plot.marks.get((at as usize).wrapping_sub(1)).filter(|_| (value - at).abs() < 0.01);
        mark.cloned().unwrap_or_default()
    };
    chart
        .configure_mesh()
        .x_desc(plot.x)
        .y_desc(plot.y)
        .x_label_formatter(&marks)
        .y_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 13))
        .light_line_style(RGBColor(235, 235, 235))
        .draw()
        .map_err(text)?;
    for (at, line) in plot.lines.iter().enumerate() {
        let colour = colour(at);
        let style = colour.stroke_width(if line.name.starts_with("inflight") { 3 } else { 1 });
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style)).map_err(text)?;
        let dots = line.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots).map_err(text)?;
        let y = 40 + 20 * i32::try_from(at).unwrap_or(0);
        legend.draw(&PathElement::new(vec![(0, y), (22, y)], style)).map_err(text)?;
        legend.draw(&Text::new(line.name.clone(), (28, y - 7), ("sans-serif", 14))).map_err(text)?;
    }
    area.present().map_err(text)
}

fn colour(at: usize) -> RGBColor {
    COLOURS.get(at % COLOURS.len()).copied().unwrap_or(BLACK)
}

/// 1000000 as 1M.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_short() {
        assert_eq!([1000.0, 4e6, 0.5, 20.0].map(short), ["1k", "4M", "0.5", "20"]);
    }
}
