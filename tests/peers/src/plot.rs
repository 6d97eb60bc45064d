//! Plots as SVG, written by hand: lines over labels at equal distances, and a logarithmic scale.

use std::fmt::Write;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 440.0;
/// Of the area with the lines; the names stand to the right of it.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 660.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 390.0;
/// Between two names.
const LINE: f64 = 17.0;
/// Told apart by those who see few colours, too.
const COLOURS: [&str; 6] = [
    "#555555", "#d55e00", "#e69f00", "#0072b2", "#009e73", "#cc79a7",
];

pub struct Plot<'a> {
    pub title: String,
    pub unit: &'a str,
    /// Below the lines.
    pub labels: Vec<String>,
    pub series: Vec<Series<'a>>,
}

/// A line: a value for each label.
pub struct Series<'a> {
    pub name: &'a str,
    pub values: Vec<f64>,
}

impl Plot<'_> {
    pub fn svg(&self) -> String {
        let scale = Scale::over(self.series.iter().flat_map(|series| &series.values));
        let mut svg = String::new();
        let mut add = |element: String| {
            let _ = writeln!(svg, "{element}");
        };
        add(format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13" fill="#222222">"##
        ));
        add(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##.to_owned());
        add(text(LEFT, 24.0, "start", &self.title));
        add(text(12.0, TOP - 6.0, "start", self.unit));
        for tick in scale.ticks() {
            let y = scale.y(tick);
            add(format!(
                r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#dddddd"/>"##
            ));
            add(text(LEFT - 8.0, y + 4.0, "end", &number(tick)));
        }
        for (at, label) in self.labels.iter().enumerate() {
            add(text(self.x(at), BOTTOM + 22.0, "middle", label));
        }
        for (series, colour) in self.series.iter().zip(COLOURS) {
            let points: Vec<(f64, f64)> = series
                .values
                .iter()
                .enumerate()
                .map(|(at, value)| (self.x(at), scale.y(*value)))
                .collect();
            let line: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let line = line.join(" ");
            add(format!(
                r#"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>"#
            ));
            for (x, y) in points {
                add(format!(
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
                ));
            }
        }
        for (name, colour, y) in self.names(&scale) {
            let label = text(RIGHT + 12.0, y + 4.0, "start", name);
            add(label.replace("<text", &format!(r#"<text fill="{colour}""#)));
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, at: usize) -> f64 {
        let parts = (self.labels.len().max(2) - 1) as f64;
        LEFT + 20.0 + at as f64 * (RIGHT - LEFT - 40.0) / parts
    }

    /// Each name as near to the end of its line as the others allow, from above.
    fn names(&self, scale: &Scale) -> Vec<(&str, &str, f64)> {
        let ends = self.series.iter().zip(COLOURS).map(|(series, colour)| {
            let last = series.values.last().copied().unwrap_or(1.0);
            (series.name, colour, scale.y(last))
        });
        let mut names: Vec<(&str, &str, f64)> = ends.collect();
        names.sort_by(|a, b| a.2.total_cmp(&b.2));
        let mut lowest = BOTTOM - LINE * names.len().saturating_sub(1) as f64;
        let mut above = TOP - LINE;
        for (_, _, y) in &mut names {
            *y = y.min(lowest).max(above + LINE);
            above = *y;
            lowest += LINE;
        }
        names
    }
}

/// Logarithmic, over a range that holds all values.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn over<'a>(values: impl Iterator<Item = &'a f64>) -> Scale {
        let (mut least, mut most) = (f64::INFINITY, f64::MIN_POSITIVE);
        for value in values.filter(|value| **value > 0.0) {
            least = least.min(*value);
            most = most.max(*value);
        }
        Scale {
            least: least.min(most) / 1.2,
            most: most * 1.2,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let part = (value.max(self.least) / self.least).ln() / (self.most / self.least).ln();
        BOTTOM - part * (BOTTOM - TOP)
    }

    /// 1, 2, 5, 10, 20 and so on.
    fn ticks(&self) -> Vec<f64> {
        let (first, last) = (self.least.log10().floor(), self.most.log10().ceil());
        let tens = (first as i32..=last as i32).map(|power| 10_f64.powi(power));
        let all = tens.flat_map(|ten| [ten, 2.0 * ten, 5.0 * ten]);
        let within = all.filter(|tick| (self.least..=self.most).contains(tick));
        within.collect()
    }
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{content}</text>"#)
}

/// As short as it can be said.
fn number(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e3.. => format!("{} k", value / 1e3),
        1.0.. => format!("{value:.0}"),
        _ => format!("{:.3}", value).trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(ends: &[f64]) -> Plot<'static> {
        let series = ends.iter().map(|end| Series {
            name: "a<b",
            values: vec![1.0, *end],
        });
        Plot {
            title: "a plot".to_owned(),
            unit: "µs",
            labels: vec!["first".to_owned(), "last".to_owned()],
            series: series.collect(),
        }
    }

    #[test]
    fn names_do_not_cover_each_other_nor_leave_the_plot() {
        for ends in [[1.0; 6], [9.0; 6], [1.0, 1.1, 5.0, 5.1, 9.0, 9.0]] {
            let plot = plot(&ends);
            let scale = Scale::over(plot.series.iter().flat_map(|series| &series.values));
            let heights: Vec<f64> = plot.names(&scale).iter().map(|name| name.2).collect();
            assert_eq!(heights.len(), ends.len());
            for pair in heights.windows(2) {
                assert!(pair[1] - pair[0] >= LINE - 0.001, "{heights:?}");
            }
            assert!(heights[0] >= TOP && heights[5] <= BOTTOM, "{heights:?}");
        }
    }

    #[test]
    fn the_scale_is_logarithmic_and_its_ticks_are_round() {
        let scale = Scale::over([0.5, 40.0].iter());
        assert_eq!(scale.ticks(), [0.5, 1.0, 2.0, 5.0, 10.0, 20.0]);
        let ten_times = scale.y(1.0) - scale.y(10.0);
        assert!((ten_times - (scale.y(2.0) - scale.y(20.0))).abs() < 0.001);
        assert_eq!(
            [0.5, 20.0, 2e3, 5e6].map(number),
            ["0.5", "20", "2 k", "5 M"]
        );
    }

    #[test]
    fn all_points_and_names_are_in_the_picture() {
        let svg = plot(&[2.0, 3.0]).svg();
        assert_eq!(svg.matches("<circle").count(), 4);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches(">a&lt;b<").count(), 2);
    }
}
