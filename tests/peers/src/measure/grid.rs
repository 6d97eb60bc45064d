//! Echoes: sizes, connections, messages in flight, text and binary.

use super::names;
use crate::plot::{Plot, Series};
use crate::report::Report;
use crate::rig::{Figures, Point, Turns, asked_for, size_name, sockets_of};
use crate::servers::ECHOES;

const KIB: usize = 1_024;
const SIZES: [usize; 6] = [16, 125, KIB, 16 * KIB, 64 * KIB, KIB * KIB];
const SOCKETS: [usize; 4] = [1, 16, 64, 1_000];
const DEPTHS: [usize; 2] = [1, 16];
/// More than this in flight on one socket, or on all, says more about the system's buffers than about a server.
const MAX_BATCH: usize = KIB * KIB;
const MAX_OUT: usize = 64 * KIB * KIB;
/// The lines of plots: by size with as many connections, by connections with messages of this size.
const PLOT_SOCKETS: usize = 64;
const PLOT_SIZE: usize = 125;

/// A line of the table.
type Row = (Point, Vec<Figures>);

pub fn grid(report: &mut Report) {
    report.section(
        "Echo",
        "Processor time of the server for each message, as a multiple of the raw TCP echo's with a thread per \
         connection (in microseconds beside it), and thousands of messages a second, the client's own work on the same \
         processor included. Texts have characters of one to three bytes.",
    );
    let mut head = vec!["type", "size", "sockets", "in flight", "raw: µs"];
    head.extend(names(&ECHOES).skip(1));
    let rates: Vec<String> = names(&ECHOES)
        .map(|name| format!("{name}: 1,000/s"))
        .collect();
    head.extend(rates.iter().map(String::as_str));
    report.head(&head);
    let turns = Turns::of(&ECHOES);
    let mut rows: Vec<Row> = Vec::new();
    for point in points() {
        let found = turns.measure(point);
        report.row(&cells(point, &found));
        rows.push((point, found));
    }
    plots(report, &rows);
}

fn points() -> Vec<Point> {
    let quick = asked_for("quick");
    let mut points = Vec::new();
    for text in [false, true] {
        for depth in DEPTHS {
            for sockets in SOCKETS.map(sockets_of) {
                for size in SIZES {
                    let sane = size * depth <= MAX_BATCH && size * depth * sockets <= MAX_OUT;
                    let brief = sockets <= PLOT_SOCKETS && (size == PLOT_SIZE || sockets != 16);
                    if sane && (brief || !quick) {
                        points.push(Point {
                            size,
                            sockets,
                            depth,
                            text,
                        });
                    }
                }
            }
        }
    }
    points
}

fn cells(point: Point, found: &[Figures]) -> Vec<String> {
    let raw = found[0].cpu_us;
    let kind = if point.text { "text" } else { "binary" };
    let mut cells = vec![
        kind.to_owned(),
        size_name(point.size),
        point.sockets.to_string(),
        point.depth.to_string(),
        format!("{raw:.2}"),
    ];
    cells.extend(found[1..].iter().map(|f| format!("{:.2}", f.cpu_us / raw)));
    cells.extend(found.iter().map(|f| rate(f.per_second / 1e3)));
    cells
}

fn rate(thousands: f64) -> String {
    match thousands {
        0.0..10.0 => format!("{thousands:.2}"),
        _ => format!("{thousands:.0}"),
    }
}

// ---- plots

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

fn plots(report: &mut Report, rows: &[Row]) {
    for shown in &SHOWN {
        for depth in DEPTHS {
            let of = |kept: &dyn Fn(&Point) -> bool| -> Vec<&Row> {
                let binary = |row: &&Row| !row.0.text && row.0.depth == depth && kept(&row.0);
                rows.iter().filter(binary).collect()
            };
            let by_size = of(&|point| point.sockets == PLOT_SOCKETS);
            let sizes = by_size.iter().map(|row| size_name(row.0.size)).collect();
            let what = format!("{PLOT_SOCKETS} connections, {depth} in flight on each");
            add(report, shown, "size", depth, &what, sizes, &by_size);

            let by_sockets = of(&|point| point.size == PLOT_SIZE);
            let counts = by_sockets.iter().map(|row| row.0.sockets.to_string());
            let what = format!("{PLOT_SIZE} bytes, {depth} in flight on each connection");
            let counts = counts.collect();
            add(
                report,
                shown,
                "connections",
                depth,
                &what,
                counts,
                &by_sockets,
            );
        }
    }
}

fn add(
    report: &mut Report,
    shown: &Shown,
    by: &str,
    depth: usize,
    what: &str,
    labels: Vec<String>,
    rows: &[&Row],
) {
    if rows.is_empty() {
        return;
    }
    let series = names(&ECHOES).enumerate().map(|(at, name)| Series {
        name,
        values: rows.iter().map(|row| (shown.of)(&row.1[at])).collect(),
    });
    let plot = Plot {
        title: format!("{} by {by}: {what}", shown.title),
        unit: shown.unit,
        labels,
        series: series.collect(),
    };
    let file = format!("{}-by-{by}-{depth}.svg", shown.file);
    report.plot(&file, &plot.title, &plot.svg());
}
