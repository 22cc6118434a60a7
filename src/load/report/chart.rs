//! Charts as SVG: two axes, with lines and bars between them. The page gives each class its colour.

use std::fmt::Write;

/// The drawing area, in pixels, and the margins for labels.
const WIDTH: f64 = 620.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 22.0;
const ABOVE: f64 = 16.0;
const BELOW: f64 = 24.0;

/// A range of values, with labels at round ones.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to a round number beyond `most`.
    pub(super) fn linear(most: f64, label: impl Fn(f64) -> String) -> Self {
        let step = round_step(most / 4.0);
        let steps = (most / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|i| f64::from(i) * step);
        Self {
            low: 0.0,
            high: steps * step,
            is_log: false,
            ticks: ticks.map(|at| (at, label(at))).collect(),
        }
    }

    /// From 0 to exactly `most`.
    pub(super) fn until(most: f64, label: impl Fn(f64) -> String) -> Self {
        let mut axis = Self::linear(most, label);
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

    /// Where a value lies, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scaled = |value: f64| {
            if self.is_log {
                value.max(1.0).log10()
            } else {
                value
            }
        };
        let (low, high) = (scaled(self.low), scaled(self.high));
        ((scaled(value) - low) / (high - low)).clamp(0.0, 1.0)
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

/// A chart that is being drawn.
pub(super) struct Chart {
    svg: String,
    x: Axis,
    y: Axis,
    height: f64,
}

impl Chart {
    /// An empty chart, with the lines and labels of its axes. Screen readers read `about`.
    pub(super) fn new(about: &str, x: &Axis, y: &Axis, height: f64) -> Self {
        let (width, all) = (LEFT + WIDTH + RIGHT, ABOVE + height + BELOW);
        let mut chart = Self {
            svg: format!(
                "<svg viewBox=\"0 0 {width} {all}\" role=\"img\" aria-label=\"{about}\">\n"
            ),
            x: x.clone(),
            y: y.clone(),
            height,
        };
        for (at, label) in &y.ticks {
            let at = chart.y(*at);
            let right = LEFT + WIDTH;
            let _ = writeln!(
                chart.svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        let below = ABOVE + height;
        for (at, label) in &x.ticks {
            let at = chart.x(*at);
            let _ = writeln!(
                chart.svg,
                "<path class=\"grid\" d=\"M{at:.1} {ABOVE}V{:.1}\"/>\
                 <text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
                below + 4.0,
                below + 18.0
            );
        }
        chart
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + WIDTH * self.x.place(value)
    }

    fn y(&self, value: f64) -> f64 {
        ABOVE + self.height * (1.0 - self.y.place(value))
    }

    /// A line through these points.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.x(x), self.y(y));
        }
        let _ = writeln!(self.svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// A bar from one x to another. `about` is its tooltip.
    pub(super) fn bar(&mut self, class: &str, ends: (f64, f64), y: f64, about: &str) {
        let (left, right) = (self.x(ends.0), self.x(ends.1));
        let (top, below) = (self.y(y), ABOVE + self.height);
        let (width, height) = ((right - left - 1.0).max(1.0), below - top);
        let _ = writeln!(
            self.svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"><title>{about}</title></rect>"
        );
    }

    /// A vertical line, with a label above it if it has one.
    pub(super) fn mark(&mut self, x: f64, label: &str) {
        let (at, below) = (self.x(x), ABOVE + self.height);
        let (class, beside) = match self.x.place(x) {
            0.9.. => ("note end", at - 3.0),
            _ => ("note", at + 3.0),
        };
        let _ = writeln!(
            self.svg,
            "<path class=\"mark\" d=\"M{at:.1} {ABOVE}V{below:.1}\"/>\
             <text class=\"{class}\" x=\"{beside:.1}\" y=\"{:.1}\">{label}</text>",
            ABOVE - 4.0
        );
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|(at, _)| *at).collect()
    }

    #[test]
    fn axes_have_few_and_round_ticks() {
        let label = |at: f64| at.to_string();
        let linear = |most| ticks(&Axis::linear(most, label));
        assert_eq!(linear(4.0), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(linear(26_170.0), [0.0, 10_000.0, 20_000.0, 30_000.0]);
        assert_eq!(linear(0.0), [0.0, 1.0]);
        assert_eq!(ticks(&Axis::until(10.4, label)), [0.0, 5.0, 10.0]);
        assert_eq!(
            ticks(&Axis::log(700.0, 12_000.0, label)),
            [100.0, 1e3, 1e4, 1e5]
        );
        assert_eq!(ticks(&Axis::log(0.0, 0.0, label)), [1.0, 10.0]);
    }

    #[test]
    fn everything_lies_within() {
        for axis in [
            Axis::linear(7.0, |_| String::new()),
            Axis::log(3.0, 900.0, |_| String::new()),
        ] {
            for value in [-1.0, 0.0, 3.0, 7.0, 1e12, f64::NAN] {
                let place = axis.place(value);
                assert!(
                    value.is_nan() || (0.0..=1.0).contains(&place),
                    "{value}: {place}"
                );
            }
        }
        let axis = Axis::log(1.0, 100.0, |_| String::new());
        assert_eq!(
            [1.0, 10.0, 100.0].map(|value| axis.place(value)),
            [0.0, 0.5, 1.0]
        );
    }
}
