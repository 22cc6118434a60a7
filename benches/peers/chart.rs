//! A chart of horizontal bars, as SVG that needs no font, no script and no network of its own.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Spread;

pub struct Chart<'a> {
    pub title: &'a str,
    /// What the axis counts, with its unit.
    pub axis: &'a str,
    /// Digits behind the point of a value.
    pub digits: usize,
    /// Below the chart: how and where it was measured.
    pub caption: [&'a str; 2],
    pub bars: Vec<Bar<'a>>,
}

pub struct Bar<'a> {
    pub name: &'a str,
    pub value: Spread,
    /// Behind the value.
    pub note: String,
    pub is_ours: bool,
}

const WIDTH: i32 = 860;
const ROW: i32 = 34;
const BAR: i32 = 20;
/// From the left edge to the axis' zero, and from its end to the right one.
const LEFT: i32 = 216;
const RIGHT: i32 = 170;
const TOP: i32 = 52;
/// The axis with its numbers and its name, then the caption.
const BOTTOM: i32 = 104;

const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const FAINT: RGBColor = RGBColor(0x59, 0x63, 0x6e);
const GRID: RGBColor = RGBColor(0xd9, 0xde, 0xe4);
const OURS: RGBColor = RGBColor(0xd1, 0x54, 0x1e);
const PEER: RGBColor = RGBColor(0x8f, 0xa6, 0xbd);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws it into a file. The axis begins at zero.
pub fn draw(path: &Path, chart: &Chart) {
    let bottom = TOP + ROW * chart.bars.len() as i32;
    let size = (WIDTH as u32, (bottom + BOTTOM) as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&PAPER).unwrap();
    text(&area, chart.title, (16, 26), HPos::Left, &bold(17, INK));
    let axis = Axis::reaching(
        chart
            .bars
            .iter()
            .map(|bar| bar.value.most)
            .fold(0.0, f64::max),
    );
    axis.draw(&area, chart.axis, bottom);
    for (i, bar) in chart.bars.iter().enumerate() {
        bar.draw(&area, &axis, TOP + ROW * i as i32 + ROW / 2, chart.digits);
    }
    for (line, y) in chart.caption.iter().zip([bottom + 68, bottom + 86]) {
        text(&area, line, (16, y), HPos::Left, &plain(12, FAINT));
    }
    area.present().unwrap();
}

struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    /// With steps of 1, 2 or 5 times a power of ten, four of them or more.
    fn reaching(most: f64) -> Self {
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|digit| digit * power);
        let step = steps
            .into_iter()
            .find(|step| step * 4.0 <= most)
            .unwrap_or(power);
        Self {
            step,
            end: (most / step).ceil() * step,
        }
    }

    fn place(&self, value: f64) -> i32 {
        LEFT + (value / self.end * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
    }

    fn draw(&self, area: &Area, name: &str, bottom: i32) {
        for i in 0..=(self.end / self.step).round() as i32 {
            let value = f64::from(i) * self.step;
            let x = self.place(value);
            let color = if i == 0 { FAINT } else { GRID };
            line(area, [(x, TOP), (x, bottom)], color);
            let value = grouped(value, if self.step < 1.0 { 1 } else { 0 });
            text(
                area,
                &value,
                (x, bottom + 13),
                HPos::Center,
                &plain(12, FAINT),
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2;
        text(
            area,
            name,
            (middle, bottom + 34),
            HPos::Center,
            &plain(13, INK),
        );
    }
}

impl Bar<'_> {
    /// The median with its value, and a line from the least to the most.
    fn draw(&self, area: &Area, axis: &Axis, y: i32, digits: usize) {
        let color = if self.is_ours { OURS } else { PEER };
        let name = if self.is_ours {
            bold(14, INK)
        } else {
            plain(14, INK)
        };
        text(area, self.name, (LEFT - 10, y), HPos::Right, &name);
        let Spread {
            least,
            median,
            most,
        } = self.value;
        let corners = [(LEFT, y - BAR / 2), (axis.place(median), y + BAR / 2)];
        area.draw(&Rectangle::new(corners, color.filled())).unwrap();
        let [from, to] = [least, most].map(|value| axis.place(value));
        if to - from > 2 {
            line(area, [(from, y), (to, y)], INK);
            line(area, [(from, y - 4), (from, y + 4)], INK);
            line(area, [(to, y - 4), (to, y + 4)], INK);
        }
        let end = to.max(axis.place(median)) + 8;
        let value = format!("{}{}", grouped(median, digits), self.note);
        text(area, &value, (end, y), HPos::Left, &name);
    }
}

fn plain(size: i32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

fn bold(size: i32, color: RGBColor) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font();
    font.style(FontStyle::Bold).color(&color)
}

fn text(area: &Area, words: &str, at: (i32, i32), side: HPos, style: &TextStyle) {
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words, at, style)).unwrap();
}

fn line(area: &Area, ends: [(i32, i32); 2], color: RGBColor) {
    area.draw(&PathElement::new(ends, color)).unwrap();
}

/// With a comma between thousands.
pub fn grouped(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
