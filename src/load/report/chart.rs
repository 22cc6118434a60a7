//! Charts as SVG between labels of HTML. The SVG is stretched to the width of the page and the
//! labels are not, so a chart is as readable on a phone as on a desk.

use std::fmt::Write;

use serde_json::{Value, json};

use super::html::embedded;
use super::quantity::Number;

/// The coordinates of a drawing go from 0 to this, in both directions.
const SIZE: f64 = 1000.0;

/// Of two labels nearer than this share of the width, the second is left out on a phone.
const NEAR: f64 = 0.19;

/// Of two labels nearer than this, it is left out everywhere.
const TOO_NEAR: f64 = 0.06;

/// A range of values, with labels at round ones.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round number beyond `most`, in steps of at least `least_step`.
    pub(super) fn linear(most: f64, least_step: f64, unit: &str) -> Self {
        let step = round_step(most / 4.0).max(least_step);
        let steps = (most / step).ceil().max(1.0);
        let digits = -step.log10().floor().min(0.0) as usize;
        let tick = |i| {
            let at = f64::from(i) * step;
            (at, format!("{}{unit}", Number(at, digits)))
        };
        Self {
            low: 0.0,
            high: steps * step,
            is_log: false,
            ticks: (0..=steps as u32).map(tick).collect(),
        }
    }

    /// From 0 to exactly `most`.
    pub(super) fn until(most: f64, unit: &str) -> Self {
        let mut axis = Self::linear(most, 0.0, unit);
        axis.high = most.max(f64::MIN_POSITIVE);
        axis.ticks.retain(|(at, _)| *at <= most);
        axis
    }

    /// The powers of ten around these values.
    pub(super) fn log(low: f64, high: f64, label: impl Fn(f64) -> String) -> Self {
        let first = low.max(1.0).log10().floor();
        let last = high.max(1.0).log10().ceil().max(first + 1.0);
        let ticks = (first as i32..=last as i32).map(|power| 10_f64.powi(power));
        Self {
            low: 10_f64.powf(first),
            high: 10_f64.powf(last),
            is_log: true,
            ticks: ticks.map(|at| (at, label(at))).collect(),
        }
    }

    /// The same range with other labels.
    pub(super) fn labelled(self, ticks: Vec<(f64, String)>) -> Self {
        Self { ticks, ..self }
    }

    /// Where a value lies: from 0 to 1 if it is within the axis.
    fn place(&self, value: f64) -> f64 {
        let scaled = |value: f64| match self.is_log {
            true => value.max(1.0).log10(),
            false => value,
        };
        let (low, high) = (scaled(self.low), scaled(self.high));
        (scaled(value) - low) / (high - low)
    }
}

/// The smallest number that is 1, 2 or 5 times a power of ten and at least `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= least);
    digit.unwrap_or(10.0) * power
}

/// The horizontal axis that the charts of a section share, and the places at which a reader can ask
/// for their values.
pub(super) struct Across {
    pub(super) axis: Axis,
    /// The places, in order, and how each is written.
    pub(super) stops: Vec<(f64, String)>,
}

impl Across {
    /// The section with its charts, and what its script needs to know.
    pub(super) fn section(&self, heading: &str, charts: &[String]) -> String {
        let places = self.stops.iter().map(|(at, _)| self.axis.place(*at));
        let places: Vec<f64> = places.map(|place| (place * 1e4).round() / 1e4).collect();
        let labels: Vec<&String> = self.stops.iter().map(|(_, label)| label).collect();
        let stops = embedded(&json!({ "places": places, "labels": labels }));
        format!(
            "<section>\n<h2>{heading}</h2>\n{}\
             <script type=\"application/json\" class=\"stops\">{stops}</script>\n</section>\n",
            charts.concat()
        )
    }
}

/// A chart that is being drawn.
pub(super) struct Chart<'a> {
    about: &'a str,
    across: &'a Across,
    y: Axis,
    keys: String,
    svg: String,
    labels: String,
    note: String,
    /// How the values of each series are written.
    values: Vec<Value>,
}

impl<'a> Chart<'a> {
    /// An empty chart, with the lines and labels of its axes. Screen readers read `about`.
    pub(super) fn new(about: &'a str, across: &'a Across, y: Axis) -> Self {
        let mut chart = Self {
            about,
            across,
            y,
            keys: String::new(),
            svg: String::new(),
            labels: String::new(),
            note: String::new(),
            values: vec![],
        };
        chart.grid();
        chart
    }

    fn grid(&mut self) {
        for (at, label) in &self.y.ticks {
            let (at, from_top) = (self.y(*at), 1.0 - self.y.place(*at));
            let _ = write!(self.svg, "<path class=\"grid\" d=\"M0 {at:.1}H{SIZE}\"/>");
            let _ = write!(
                self.labels,
                "<span class=\"y\" style=\"top:{:.2}%\">{label}</span>",
                from_top * 100.0
            );
        }
        let mut last = f64::NEG_INFINITY;
        for (at, label) in &self.across.axis.ticks {
            let (at, place) = (self.x(*at), self.across.axis.place(*at));
            let _ = write!(self.svg, "<path class=\"grid\" d=\"M{at:.1} 0V{SIZE}\"/>");
            if place - last < TOO_NEAR {
                continue;
            }
            let class = if place - last < NEAR { "x wide" } else { "x" };
            let _ = write!(
                self.labels,
                "<span class=\"{class}\" style=\"left:{:.2}%\">{label}</span>",
                place * 100.0
            );
            if class == "x" {
                last = place;
            }
        }
    }

    fn x(&self, value: f64) -> f64 {
        SIZE * self.across.axis.place(value)
    }

    fn y(&self, value: f64) -> f64 {
        SIZE * (1.0 - self.y.place(value))
    }

    /// A line with a value for each stop.
    pub(super) fn line(&mut self, class: &str, name: &str, series: &[(f64, String)]) {
        let mut path = String::new();
        for ((x, _), (y, _)) in self.across.stops.iter().zip(series) {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        let _ = write!(self.svg, "<path class=\"line {class}\" d=\"{path}\"/>");
        self.series(class, name, series);
    }

    /// A bar for each stop, between its ends.
    pub(super) fn bars(
        &mut self,
        class: &str,
        name: &str,
        ends: &[(f64, f64)],
        series: &[(f64, String)],
    ) {
        let mut path = String::new();
        for ((left, right), (y, _)) in ends.iter().zip(series).filter(|(_, (y, _))| *y > 0.0) {
            let (left, right) = (self.x(*left), self.x(*right));
            // The least count shows, too.
            let top = self.y(*y).min(SIZE - 15.0);
            let _ = write!(path, "M{left:.1} {SIZE}V{top:.1}H{right:.1}V{SIZE}");
        }
        let _ = write!(self.svg, "<path class=\"bars {class}\" d=\"{path}\"/>");
        self.series(class, name, series);
    }

    fn series(&mut self, class: &str, name: &str, series: &[(f64, String)]) {
        let _ = write!(
            self.keys,
            "<span class=\"key {class}\">{name} <output></output></span>"
        );
        self.values
            .push(series.iter().map(|(_, text)| &**text).collect());
    }

    /// A vertical line. The label, if there is one, is above it, to its left or to its right.
    pub(super) fn mark(&mut self, at: f64, label: &str, is_left: bool) {
        let place = self.across.axis.place(at);
        let class = if is_left { "mark left" } else { "mark" };
        if !label.is_empty() {
            let _ = write!(
                self.labels,
                "<span class=\"{class}\" style=\"left:{:.2}%\">{label}</span>",
                place * 100.0
            );
        }
        let at = self.x(at);
        let _ = write!(self.svg, "<path class=\"mark\" d=\"M{at:.1} 0V{SIZE}\"/>");
    }

    /// A horizontal line, with its label above it.
    pub(super) fn level(&mut self, at: f64, label: &str) {
        let from_top = (1.0 - self.y.place(at)) * 100.0;
        let _ = write!(
            self.labels,
            "<span class=\"level\" style=\"top:{from_top:.2}%\">{label}</span>"
        );
        let at = self.y(at);
        let _ = write!(self.svg, "<path class=\"mark\" d=\"M0 {at:.1}H{SIZE}\"/>");
    }

    /// A dot at each of these places. The SVG is stretched, so a dot is the round cap of a line
    /// without a length.
    pub(super) fn dots(&mut self, class: &str, places: &[(f64, f64)]) {
        let mut path = String::new();
        for (x, y) in places {
            let _ = write!(path, "M{:.1} {:.1}h0", self.x(*x), self.y(*y));
        }
        for part in ["rim", "core"] {
            let _ = write!(self.svg, "<path class=\"{part} {class}\" d=\"{path}\"/>");
        }
    }

    /// A line of text below the chart.
    pub(super) fn note(&mut self, note: &str) {
        self.note = format!("<p class=\"note\">{note}</p>\n");
    }

    /// The chart, with the class that says how high it is.
    pub(super) fn finish(self, class: &str) -> String {
        let Self {
            about,
            keys,
            svg,
            labels,
            note,
            values,
            ..
        } = self;
        let values = embedded(&values.into());
        format!(
            "<figure class=\"{class}\">\n\
             <figcaption>{keys}<output class=\"at\"></output></figcaption>\n\
             <div class=\"plot\" role=\"img\" aria-label=\"{about}\">\n\
             <svg viewBox=\"0 0 {SIZE} {SIZE}\" preserveAspectRatio=\"none\">{svg}</svg>\n\
             {labels}</div>\n{note}\
             <script type=\"application/json\" class=\"values\">{values}</script>\n</figure>\n"
        )
    }
}

#[cfg(test)]
mod tests;
