//! Plots of echoes: processor time and throughput, by whatever the points differ in.

use super::names;
use crate::plot::{Plot, Series};
use crate::report::Report;
use crate::rig::{Figures, Point};
use crate::servers::ECHOES;

/// A line of a table: the figures of each echo.
pub type Row = (Point, Vec<Figures>);

/// What a plot shows of a row, and how its axis and file are called.
struct Shown {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    of: fn(&Figures) -> f64,
}

const SHOWN: [Shown; 2] = [
    Shown {
        file: "cpu",
        title: "Processor time of the server",
        unit: "µs per message",
        of: |figures| figures.cpu_us,
    },
    Shown {
        file: "throughput",
        title: "Throughput",
        unit: "messages per second",
        of: |figures| figures.per_second,
    },
];

/// Both plots: `by` this, which the labels have the values of, for `what` is the same at all points.
pub fn add<'a>(
    report: &mut Report,
    (by, label): (&str, fn(&Point) -> String),
    what: &str,
    rows: impl Iterator<Item = &'a Row>,
) {
    let rows: Vec<&Row> = rows.collect();
    let Some((first, _)) = rows.first() else {
        return;
    };
    let depth = first.depth;
    for shown in &SHOWN {
        let series = names(&ECHOES).enumerate().map(|(at, name)| Series {
            name,
            values: rows.iter().map(|row| (shown.of)(&row.1[at])).collect(),
        });
        let plot = Plot {
            title: format!(
                "{} by {by}: {what}, {depth} in flight on each connection",
                shown.title
            ),
            unit: shown.unit,
            labels: rows.iter().map(|row| label(&row.0)).collect(),
            series: series.collect(),
        };
        let file = format!("{}-by-{by}-{depth}.svg", shown.file);
        report.plot(&file, &plot.title, &plot.svg());
    }
}
