//! Charts as SVG: bars that stand on one another, and lines with gaps.
//!
//! What is not known is never drawn as zero: a line has a gap there, and a time of which nobody told anything is hatched. A
//! time in which nothing happened is empty. Every mark says on a touch what it is; the numbers stand in a table below.

use std::fmt::Write as _;

use ruche_projections::analytics::Bucket;

use super::html::Text;
use super::scale::{Axis, mark};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 40.0;
const PLOT_WIDTH: f64 = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT: f64 = HEIGHT - TOP - BOTTOM;
/// Part of its time that a bar is wide.
const BAR: f64 = 0.8;
/// Times that are written below the axis at most.
const MARKS_MAX: usize = 6;
/// Points of a line up to which each has a dot that can be hit well.
const DOTS_MAX: usize = 62;

/// What a time is in the chart.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Start of the time, µs.
    pub at: i64,
    /// In the unit of the axis.
    pub value: f64,
    /// What it says when it is touched.
    pub told: String,
    /// Whether all that it is about is known.
    pub is_whole: bool,
}

/// A colour of the chart.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// For the legend.
    pub name: String,
    /// For the style sheet.
    pub class: &'static str,
    /// In the order of their times, one of each at most.
    pub points: Vec<Point>,
}

/// How the series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Bars,
    Lines,
}

/// A chart and what people are told about it.
pub(super) struct Chart {
    /// Of the element, and the beginning of those in it.
    pub id: String,
    pub title: String,
    /// What the values are in, above their axis.
    pub unit: String,
    pub shape: Shape,
    pub bucket: Bucket,
    /// From this time on, µs.
    pub from: i64,
    /// Before this time, µs.
    pub to: i64,
    pub series: Vec<Series>,
    /// Times of which nobody told anything, with what they say when they are touched.
    pub unknown: Vec<(i64, String)>,
    /// Sentences below the title.
    pub notes: Vec<String>,
}

impl Chart {
    /// The figure; `below` is the HTML of what stands below the legend.
    pub(super) fn html(&self, below: &str) -> String {
        let (id, title) = (Text(&self.id), Text(&self.title));
        let notes = self.notes.iter().fold(String::new(), |mut html, note| {
            let _infallible = writeln!(html, "<p class=\"note\">{}</p>", Text(note));
            html
        });
        format!(
            "<figure class=\"chart\" id=\"{id}\">\n<figcaption><h2>{title}</h2>{notes}</figcaption>\n{}{}{below}</figure>\n",
            self.svg(),
            self.legend()
        )
    }

    fn count(&self) -> usize {
        usize::try_from((self.to - self.from) / self.bucket.width_us())
            .unwrap_or(0)
            .max(1)
    }

    /// The middle of a time.
    fn x(&self, at: i64) -> f64 {
        let place = (at - self.from) as f64 / self.bucket.width_us() as f64;
        LEFT + (place + 0.5) * self.band()
    }

    fn band(&self) -> f64 {
        PLOT_WIDTH / self.count() as f64
    }

    /// The greatest height: of what stands on one another, the sum.
    fn most(&self) -> f64 {
        let points = self.series.iter().flat_map(|series| &series.points);
        if self.shape == Shape::Lines {
            return points.map(|point| point.value).fold(0.0, f64::max);
        }
        let mut sums = std::collections::BTreeMap::<i64, f64>::new();
        for point in points {
            *sums.entry(point.at).or_default() += point.value;
        }
        sums.into_values().fold(0.0, f64::max)
    }

    fn svg(&self) -> String {
        let axis = Axis::to(self.most());
        let (id, end) = (Text(&self.id), axis.end);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" data-end=\"{end}\" \
             data-height=\"{PLOT_HEIGHT}\" data-bottom=\"{}\">\n<title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n",
            HEIGHT - BOTTOM,
            Text(&self.title),
            Text(&self.described())
        );
        svg.push_str(&self.hatching());
        svg.push_str(&self.grid(&axis));
        for (at, told) in &self.unknown {
            let (x, width) = (self.x(*at) - self.band() / 2.0, self.band());
            let _infallible = writeln!(
                svg,
                "<rect class=\"unknown\" fill=\"url(#{id}-h)\" x=\"{x:.2}\" y=\"{TOP}\" width=\"{width:.2}\" \
                 height=\"{PLOT_HEIGHT}\"><title>{}</title></rect>",
                Text(told)
            );
        }
        match self.shape {
            Shape::Bars => self.bars(&axis, &mut svg),
            Shape::Lines => self.lines(&axis, &mut svg),
        }
        if self.is_empty() {
            let (x, y) = (LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT / 2.0);
            let _infallible = writeln!(
                svg,
                "<text class=\"nothing\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">Nothing happened in this time</text>"
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.series.iter().all(|series| series.points.is_empty())
    }

    /// The pattern of what is not known; each chart has one of its own, as ids are those of a page.
    fn hatching(&self) -> String {
        if self.unknown.is_empty() {
            return String::new();
        }
        format!(
            "<defs><pattern id=\"{}-h\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate(45)\"><line class=\"hatch\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern></defs>\n",
            Text(&self.id)
        )
    }

    /// Both axes with their marks and what they are in.
    fn grid(&self, axis: &Axis) -> String {
        let mut svg = format!(
            "<text class=\"unit\" x=\"2\" y=\"14\">{}</text>\n<g class=\"grid\">\n",
            Text(&self.unit)
        );
        let right = WIDTH - RIGHT;
        for value in axis.marks() {
            let y = height(axis, value);
            let class = if value == 0.0 { "zero" } else { "step" };
            let _infallible = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{LEFT}\" y1=\"{y:.2}\" x2=\"{right}\" y2=\"{y:.2}\"/>\
                 <text x=\"{}\" y=\"{:.2}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                axis.label(value)
            );
        }
        let count = self.count();
        let apart = count.div_ceil(MARKS_MAX);
        for n in (0..count).step_by(apart) {
            let at = self.from + n as i64 * self.bucket.width_us();
            let _infallible = writeln!(
                svg,
                "<text x=\"{:.2}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                self.x(at),
                HEIGHT - BOTTOM + 16.0,
                mark(self.bucket, at)
            );
        }
        let _infallible = writeln!(
            svg,
            "</g>\n<text class=\"unit\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            LEFT + PLOT_WIDTH / 2.0,
            HEIGHT - 5.0,
            Text(&self.times())
        );
        svg
    }

    /// What the axis of times is in.
    fn times(&self) -> String {
        let date = super::asked::date;
        let (first, last) = (date(self.from), date(self.to - 1));
        let years = match first[..4] == last[..4] {
            true => first[..4].to_owned(),
            false => format!("{} to {}", &first[..4], &last[..4]),
        };
        let word = match self.bucket {
            Bucket::Week => "week, from Monday on",
            Bucket::Day => "day",
            Bucket::Hour => "hour",
            Bucket::Minute => "minute",
        };
        format!("{word}, UTC, {years}")
    }

    fn bars(&self, axis: &Axis, svg: &mut String) {
        let width = self.band() * BAR;
        let mut below = std::collections::BTreeMap::<i64, f64>::new();
        for series in &self.series {
            for point in &series.points {
                let start = below.entry(point.at).or_default();
                let (bottom, top) = (height(axis, *start), height(axis, *start + point.value));
                *start += point.value;
                let part = if point.is_whole { "" } else { " part" };
                let _infallible = writeln!(
                    svg,
                    "<rect class=\"bar {}{part}\" x=\"{:.2}\" y=\"{top:.2}\" width=\"{width:.2}\" height=\"{:.2}\">\
                     <title>{}</title></rect>",
                    series.class,
                    self.x(point.at) - width / 2.0,
                    bottom - top,
                    Text(&point.told)
                );
            }
        }
    }

    fn lines(&self, axis: &Axis, svg: &mut String) {
        let radius = if self.count() <= DOTS_MAX { 2.6 } else { 1.4 };
        for series in &self.series {
            let (mut path, mut before) = (String::new(), None);
            for point in &series.points {
                // A line goes on where the time before has a point, too.
                let goes_on = before == Some(point.at - self.bucket.width_us());
                let command = if goes_on { 'L' } else { 'M' };
                let _infallible = write!(
                    path,
                    "{command}{:.2} {:.2}",
                    self.x(point.at),
                    height(axis, point.value)
                );
                before = Some(point.at);
            }
            if !path.is_empty() {
                let _infallible = writeln!(svg, "<path class=\"line {}\" d=\"{path}\"/>", series.class);
            }
            for point in &series.points {
                let part = if point.is_whole { "" } else { " part" };
                let _infallible = writeln!(
                    svg,
                    "<circle class=\"dot {}{part}\" cx=\"{:.2}\" cy=\"{:.2}\" r=\"{radius}\"><title>{}</title></circle>",
                    series.class,
                    self.x(point.at),
                    height(axis, point.value),
                    Text(&point.told)
                );
            }
        }
    }

    /// The chart in words, for those who do not see it.
    fn described(&self) -> String {
        let date = super::asked::date;
        let time = format!("from {} to {}", date(self.from), date(self.to - 1));
        let points = self
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series, point)));
        let most = points.max_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
        let of = match self.shape {
            Shape::Bars => "Bars",
            Shape::Lines => "Lines",
        };
        let unknown = match self.unknown.len() {
            0 => String::new(),
            times => format!(" Of {times} times nobody told anything."),
        };
        match most {
            Some((_, point)) => {
                let names: Vec<&str> = self.series.iter().map(|series| series.name.as_str()).collect();
                format!(
                    "{of} {time} of {}. The greatest is {}.{unknown}",
                    names.join(", "),
                    point.told
                )
            }
            None => format!("Nothing to show {time}.{unknown}"),
        }
    }

    fn legend(&self) -> String {
        let mut html = "<ul class=\"legend\">\n".to_owned();
        for series in &self.series {
            let (class, name) = (series.class, Text(&series.name));
            let _infallible = writeln!(html, "<li><span class=\"swatch {class}\"></span>{name}</li>");
        }
        let points = self.series.iter().flat_map(|series| &series.points);
        if points.into_iter().any(|point| !point.is_whole) {
            html.push_str("<li><span class=\"swatch part\"></span>partly known: it may be more</li>\n");
        }
        if !self.unknown.is_empty() {
            html.push_str("<li><span class=\"swatch unknown\"></span>not known: nobody told it</li>\n");
        }
        html.push_str("</ul>\n");
        html
    }
}

/// The place of a value between the ends of the plot.
fn height(axis: &Axis, value: f64) -> f64 {
    TOP + PLOT_HEIGHT * (1.0 - value / axis.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = Bucket::Day.width_us();

    fn point(day: i64, value: f64) -> Point {
        Point {
            at: day * DAY,
            value,
            told: format!("{value} of <{day}>"),
            is_whole: day != 3,
        }
    }

    fn chart(shape: Shape, series: Vec<Series>) -> Chart {
        Chart {
            id: "c".to_owned(),
            title: "Cost & more".to_owned(),
            unit: "USD".to_owned(),
            shape,
            bucket: Bucket::Day,
            from: 0,
            to: 5 * DAY,
            series,
            unknown: vec![(4 * DAY, "nobody".to_owned())],
            notes: vec![],
        }
    }

    fn series(class: &'static str, points: &[(i64, f64)]) -> Series {
        Series {
            name: format!("<{class}>"),
            class,
            points: points.iter().map(|(day, value)| point(*day, *value)).collect(),
        }
    }

    #[test]
    fn bars_stand_on_one_another_and_the_greatest_sum_fits() {
        let all = vec![series("s0", &[(0, 2.0), (3, 1.0)]), series("s1", &[(0, 3.0)])];
        let svg = chart(Shape::Bars, all).svg();
        assert!(svg.contains("data-end=\"5\""), "{svg}");
        let tall = |part: f64| format!("height=\"{:.2}\"", PLOT_HEIGHT * part / 5.0);
        assert!(
            svg.contains(&tall(2.0)) && svg.contains(&tall(3.0)) && svg.contains(&tall(1.0)),
            "{svg}"
        );
        assert!(
            svg.contains(&format!("class=\"bar s1\" x=\"62.00\" y=\"{TOP:.2}\"")),
            "{svg}"
        );
        assert_eq!(svg.matches("class=\"unknown\"").count(), 1);
        assert_eq!(svg.matches(" part\"").count(), 1);
        assert!(svg.contains("&lt;0&gt;") && !svg.contains("<0>"), "{svg}");
    }

    #[test]
    fn a_line_has_a_gap_where_a_time_has_no_point() {
        let svg = chart(Shape::Lines, vec![series("s0", &[(0, 1.0), (1, 2.0), (3, 4.0)])]).svg();
        let path = svg
            .split(" d=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap();
        let commands: String = path.chars().filter(char::is_ascii_uppercase).collect();
        assert_eq!(commands, "MLM", "{path}");
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn a_chart_of_nothing_says_so() {
        let empty = Chart {
            unknown: vec![],
            ..chart(Shape::Lines, vec![series("s0", &[])])
        };
        let html = empty.html("");
        assert!(
            html.contains("Nothing happened in this time") && html.contains("Cost &amp; more"),
            "{html}"
        );
        assert!(!html.contains("<path") && !html.contains("pattern"), "{html}");
    }
}
