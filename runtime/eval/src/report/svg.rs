//! Draws a plot of shares against shares as inline SVG: axes, ticks, lines told apart by stroke and mark as well as colour.
//!
//! Not here: what is drawn (`plot`). Invariants: no text is smaller than the page's small print at 360 px, colours
//! come from the page's style sheet, so that they follow light and dark, and each plot says in words what it shows.

use super::markup::{Attributes, Html};

/// Left border of the square that is drawn in.
const LEFT: f64 = 58.0;
/// Above it, besides the key.
const ABOVE: f64 = 18.0;
/// Its side.
const SIDE: f64 = 340.0;
/// The whole drawing.
const WIDTH: f64 = 412.0;
/// What stands below the square.
const BELOW: f64 = 54.0;
/// From one row of the key to the next.
const KEY_ROW: f64 = 20.0;
/// From the key's first column to its second.
const KEY_COLUMN: f64 = 150.0;

/// A plot over the unit square.
#[derive(Clone, Debug, Default)]
pub(super) struct Plot {
    /// Unique in the page; letters, digits and `-`.
    pub id: String,
    /// What it is.
    pub title: String,
    /// What it shows, for those who cannot see it.
    pub description: String,
    /// How to read it, in a sentence or two.
    pub caption: String,
    /// What runs to the right.
    pub x_label: String,
    /// What runs up.
    pub y_label: String,
    /// From the lower left corner to the upper right one, or across.
    pub diagonal: Diagonal,
    /// Where a threshold stands on the horizontal axis.
    pub threshold: Option<(f64, String)>,
    /// What is drawn.
    pub series: Vec<Series>,
    /// The key's words for a ring, when there is one.
    pub ring_label: String,
    /// The key's words for a dotted part, when there is one.
    pub dotted_label: String,
}

/// Which way the line of comparison runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Diagonal {
    /// From (0, 0) to (1, 1).
    #[default]
    Rising,
    /// From (0, 1) to (1, 0).
    Falling,
}

/// A line of a plot.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Its words in the key.
    pub label: String,
    /// How it is drawn.
    pub look: Look,
    /// Its points from one end to the other, with the size of their marks; 0 draws no mark.
    pub points: Vec<(f64, f64, f64)>,
    /// How many points at its beginning are not certain: drawn dotted.
    pub n_dotted: usize,
    /// A point to ring.
    pub ring: Option<(f64, f64)>,
}

/// Stroke and mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// A drawn-out line, round marks.
    #[default]
    Solid,
    /// A dashed line, square marks.
    Dashed,
}

impl Look {
    const fn class(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Dashed => "dashed",
        }
    }
}

fn x_at(share: f64) -> f64 {
    LEFT + SIDE * share.clamp(0.0, 1.0)
}

/// The vertical place of `share`, from the square's top: the drawing is moved down to make room for the key.
fn y_at(share: f64) -> f64 {
    SIDE * (1.0 - share.clamp(0.0, 1.0))
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

/// Draws `plot`.
pub(super) fn draw(h: &mut Html, plot: &Plot) {
    let title_id = format!("{}-title", plot.id);
    let desc_id = format!("{}-desc", plot.id);
    // Two rows at least, so that the squares of plots side by side stand at one height.
    let top = ABOVE + KEY_ROW * plot.series.len().max(2) as f64;
    let view = format!("0 0 {WIDTH} {}", top + SIDE + BELOW);
    let by = format!("{title_id} {desc_id}");
    let attributes =
        [("viewBox", view.as_str()), ("role", "img"), ("aria-labelledby", &by), ("class", "plot")];
    h.element("svg", &attributes, |h| {
        h.leaf("title", &[("id", &title_id)], &plot.title);
        h.leaf("desc", &[("id", &desc_id)], &plot.description);
        key(h, plot);
        h.element("g", &[("transform", &format!("translate(0 {top})"))], |h| square(h, plot));
    });
}

fn square(h: &mut Html, plot: &Plot) {
    axes(h, plot);
    let (from, to) = match plot.diagonal {
        Diagonal::Rising => (0.0, 1.0),
        Diagonal::Falling => (1.0, 0.0),
    };
    line(h, "chance", (x_at(0.0), y_at(from)), (x_at(1.0), y_at(to)));
    if let Some((at, label)) = &plot.threshold {
        let x = x_at(*at);
        line(h, "threshold", (x, y_at(0.0)), (x, y_at(1.0)));
        // On the side that has more room.
        let (x, anchor) = if *at > 0.6 { (x - 5.0, "end") } else { (x + 5.0, "start") };
        text(h, (x, y_at(0.0) - 8.0), anchor, "halo", label);
    }
    for series in &plot.series {
        curve(h, series);
    }
    for (x, y) in plot.series.iter().filter_map(|s| s.ring) {
        circle(h, "ring", (x_at(x), y_at(y)), 7.5);
    }
}

fn axes(h: &mut Html, plot: &Plot) {
    for tenth in (0..=10).step_by(2) {
        let share = f64::from(tenth) / 10.0;
        let (x, y) = (x_at(share), y_at(share));
        line(h, "grid", (x, 0.0), (x, SIDE));
        line(h, "grid", (LEFT, y), (LEFT + SIDE, y));
        line(h, "axis", (x, SIDE), (x, SIDE + 5.0));
        line(h, "axis", (LEFT - 5.0, y), (LEFT, y));
        let percent = (10 * tenth).to_string();
        text(h, (x, SIDE + 20.0), "middle", "tick", &percent);
        text(h, (LEFT - 9.0, y + 4.5), "end", "tick", &percent);
    }
    line(h, "axis", (LEFT, SIDE), (LEFT + SIDE, SIDE));
    line(h, "axis", (LEFT, 0.0), (LEFT, SIDE));
    text(h, (LEFT + SIDE / 2.0, SIDE + 44.0), "middle", "label", &plot.x_label);
    let turned = format!("translate(16 {}) rotate(-90)", number(SIDE / 2.0));
    h.leaf("text", &[("transform", &turned), ("text-anchor", "middle"), ("class", "label")], &plot.y_label);
}

fn curve(h: &mut Html, series: &Series) {
    let class = format!("series {}", series.look.class());
    h.element("g", &[("class", &class)], |h| {
        // The dotted part ends on the first certain point, so that the line does not break.
        let n_dotted = series.n_dotted.min(series.points.len());
        let uncertain = series.points.get(..(n_dotted + 1).min(series.points.len())).unwrap_or_default();
        if n_dotted > 0 && uncertain.len() > 1 {
            h.element("path", &[("class", "dotted"), ("d", &path(uncertain))], |_| {});
        }
        let certain = series.points.get(n_dotted..).unwrap_or_default();
        if certain.len() > 1 {
            h.element("path", &[("d", &path(certain))], |_| {});
        }
        for &(x, y, size) in series.points.iter().filter(|p| p.2 > 0.0) {
            mark(h, series.look, (x_at(x), y_at(y)), size);
        }
    });
}

fn path(points: &[(f64, f64, f64)]) -> String {
    let mut d = String::new();
    for (i, &(x, y, _)) in points.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        d.push_str(&format!("{command}{} {}", number(x_at(x)), number(y_at(y))));
    }
    d
}

fn mark(h: &mut Html, look: Look, (x, y): (f64, f64), size: f64) {
    match look {
        Look::Solid => circle(h, "mark", (x, y), size),
        Look::Dashed => {
            let side = number(2.0 * size);
            let (x, y) = (number(x - size), number(y - size));
            let attributes: Attributes =
                &[("class", "mark"), ("x", &x), ("y", &y), ("width", &side), ("height", &side)];
            h.element("rect", attributes, |_| {});
        }
    }
}

/// Series in the first column, what marks them in the second.
fn key(h: &mut Html, plot: &Plot) {
    let has_marks = plot.series.iter().any(|s| s.points.iter().any(|p| p.2 > 0.0));
    let mut y = 14.0;
    for series in &plot.series {
        let class = format!("series {}", series.look.class());
        h.element("g", &[("class", &class)], |h| {
            h.element("path", &[("d", &stroke(LEFT, y))], |_| {});
            if has_marks {
                mark(h, series.look, (LEFT + 14.0, y), 4.0);
            }
        });
        text(h, (LEFT + 36.0, y + 4.5), "start", "tick", &series.label);
        y += KEY_ROW;
    }
    let (x, mut y) = (LEFT + KEY_COLUMN, 14.0);
    if plot.series.iter().any(|s| s.ring.is_some()) {
        circle(h, "ring", (x + 14.0, y), 6.0);
        text(h, (x + 36.0, y + 4.5), "start", "tick", &plot.ring_label);
        y += KEY_ROW;
    }
    if plot.series.iter().any(|s| s.n_dotted > 0) {
        h.element("g", &[("class", "series")], |h| {
            h.element("path", &[("class", "dotted"), ("d", &stroke(x, y))], |_| {});
        });
        text(h, (x + 36.0, y + 4.5), "start", "tick", &plot.dotted_label);
    }
}

fn stroke(left: f64, y: f64) -> String {
    format!("M{} {}H{}", number(left), number(y), number(left + 28.0))
}

fn line(h: &mut Html, class: &'static str, from: (f64, f64), to: (f64, f64)) {
    let (x1, y1, x2, y2) = (number(from.0), number(from.1), number(to.0), number(to.1));
    h.element("line", &[("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)], |_| {});
}

fn circle(h: &mut Html, class: &'static str, (x, y): (f64, f64), radius: f64) {
    let (x, y, radius) = (number(x), number(y), number(radius));
    h.element("circle", &[("class", class), ("cx", &x), ("cy", &y), ("r", &radius)], |_| {});
}

fn text(h: &mut Html, (x, y): (f64, f64), anchor: &'static str, class: &'static str, words: &str) {
    let (x, y) = (number(x), number(y));
    h.leaf("text", &[("x", &x), ("y", &y), ("text-anchor", anchor), ("class", class)], words);
    h.raw("\n");
}
