//! The losses of a run as a drawing: one SVG file that needs nothing beside it.
//!
//! Not a library of plots. Both losses are in nats on one axis, against steps: what each step gave, pale, and a moving
//! mean of it. Invariant: the file is bounded, however long the run, and a function of the rows.

use crate::gguf::write_whole;
use crate::trainer::Row;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Borders of the field that is drawn in.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 344.0;
/// Most points of a line; longer runs are drawn in means of neighbours.
const MAX_POINTS: usize = 600;
/// Share of the raw points that the vertical axis must hold; what is above stands on the upper border.
const HELD: f64 = 0.98;

/// Colours for light and dark; lines differ in stroke too.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#333}.grid{stroke:#ddd}.axis{stroke:#333}\
    path{fill:none}.swrd{stroke:#0b62a8}.cpo{stroke:#b3500b}.raw{opacity:.35}.mean{stroke-width:2.5}\
    .cpo.mean{stroke-dasharray:7 4}\
    @media(prefers-color-scheme:dark){svg{background:#161616}text{fill:#ddd}.grid{stroke:#3a3a3a}\
    .axis{stroke:#ddd}.swrd{stroke:#6cb8f5}.cpo{stroke:#f2a35e}}";

/// One loss: its class, its words, and its value by step.
struct Series {
    class: &'static str,
    label: &'static str,
    raw: Vec<(f64, f64)>,
    mean: Vec<(f64, f64)>,
}

impl Series {
    fn of(class: &'static str, label: &'static str, rows: &[Row], value: impl Fn(&Row) -> f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "runs have fewer than 2^52 steps")]
        let all: Vec<(f64, f64)> =
            rows.iter().map(|r| (r.step as f64, value(r))).filter(|(_, y)| y.is_finite()).collect();
        let mean = moving_mean(&all);
        Self { class, label, raw: thinned(&all), mean: thinned(&mean) }
    }
}

/// An exponential mean over about a thirtieth of the run, corrected for its beginning.
#[expect(clippy::cast_precision_loss, reason = "few rows")]
fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 30.0).max(4.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut next = |y: f64| {
        sum = keep * sum + (1.0 - keep) * y;
        weight = keep * weight + (1.0 - keep);
        sum / weight
    };
    points.iter().map(|&(x, y)| (x, next(y))).collect()
}

/// At most [`MAX_POINTS`] points, each the mean of its neighbours.
#[expect(clippy::cast_precision_loss, reason = "few points")]
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MAX_POINTS).max(1);
    let mean =
        |of: &[(f64, f64)], part: fn(&(f64, f64)) -> f64| of.iter().map(part).sum::<f64>() / of.len() as f64;
    points.chunks(size).map(|c| (mean(c, |p| p.0), mean(c, |p| p.1))).collect()
}

/// The distance of ticks: 1, 2 or 5 times a power of ten, for about six of them.
fn tick(range: f64) -> f64 {
    let rough = (range / 6.0).max(1e-9);
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|n| *n >= rough).unwrap_or(rough)
}

/// What the vertical axis must hold.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index below the number of points"
)]
fn top(series: &[Series]) -> f64 {
    let of = |s: &Series| {
        let mut raw: Vec<f64> = s.raw.iter().map(|p| p.1).collect();
        raw.sort_by(f64::total_cmp);
        let at = (raw.len().saturating_sub(1) as f64 * HELD) as usize;
        raw.get(at).copied().unwrap_or(0.0)
    };
    series.iter().map(of).fold(1e-3, f64::max)
}

/// The field's scale: what its right and upper borders stand for.
struct Scale {
    first: f64,
    last: f64,
    top: f64,
}

impl Scale {
    fn x(&self, step: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (step - self.first) / (self.last - self.first)
    }

    fn y(&self, loss: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (loss / self.top).clamp(0.0, 1.0)
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut d = String::new();
        for (x, y) in points {
            let command = if d.is_empty() { 'M' } else { 'L' };
            let _ = write!(d, "{command}{:.1} {:.1}", self.x(*x), self.y(*y));
        }
        d
    }
}

fn axes(out: &mut String, scale: &Scale) {
    let ticks = |from: f64, to: f64| {
        let step = tick(to - from);
        let first = (from / step).ceil() * step;
        // A tick's distance is at least an eighth of the range.
        (0..16_u8).map(move |i| first + f64::from(i) * step).take_while(move |t| *t <= to * (1.0 + 1e-9))
    };
    for t in ticks(0.0, scale.top) {
        let y = scale.y(t);
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.5,
            short(t)
        );
    }
    for t in ticks(scale.first, scale.last).filter(|t| t.fract().abs() < 1e-9) {
        let x = scale.x(t);
        let _ = write!(out, "<path class=\"axis\" d=\"M{x:.1} {BOTTOM}v5\"/>");
        let _ =
            writeln!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{t}</text>", BOTTOM + 20.0);
    }
    let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
    let (middle, below) = ((LEFT + RIGHT) / 2.0, BOTTOM + 44.0);
    let _ = writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">step</text>");
    let turned = format!("translate(16 {}) rotate(-90)", (TOP + BOTTOM) / 2.0);
    let _ = writeln!(out, "<text transform=\"{turned}\" text-anchor=\"middle\">loss, nats</text>");
}

/// A tick's number without needless noughts.
fn short(x: f64) -> String {
    let text = format!("{x:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The drawing of `rows`; with fewer than two there is none.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "runs have fewer than 2^52 steps")]
pub fn losses(rows: &[Row]) -> Option<String> {
    let (first, last) = (rows.first()?, rows.last()?);
    if first.step >= last.step {
        return None;
    }
    let mut series = vec![Series::of("swrd", "text (SwaRD)", rows, |r| r.swrd)];
    if rows.iter().any(|r| r.cpo != 0.0) {
        series.push(Series::of("cpo", "pivots (CPO)", rows, |r| r.cpo));
    }
    let scale = Scale { first: first.step as f64, last: last.step as f64, top: top(&series) };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"t d\">\n<style>{STYLE}</style>\n<title id=\"t\">Losses of a training run</title>\n"
    );
    let ends = series.iter().map(|s| {
        let [from, to] = [s.mean.first(), s.mean.last()].map(|p| p.map_or(0.0, |p| p.1));
        format!("{}: from {from:.3} to {to:.3}", s.label)
    });
    let ends = ends.collect::<Vec<_>>().join("; ");
    let _ = writeln!(
        out,
        "<desc id=\"d\">Moving means in nats over steps {} to {}. {ends}.</desc>",
        first.step, last.step
    );
    axes(&mut out, &scale);
    for (i, s) in (0..2_u8).zip(&series) {
        let x = LEFT + 200.0 * f64::from(i);
        for (kind, points) in [("raw", &s.raw), ("mean", &s.mean)] {
            let _ = writeln!(out, "<path class=\"{} {kind}\" d=\"{}\"/>", s.class, scale.path(points));
        }
        let _ = write!(out, "<path class=\"{} mean\" d=\"M{x} 24h28\"/>", s.class);
        let _ = writeln!(out, "<text x=\"{}\" y=\"28.5\">{}</text>", x + 36.0, s.label);
    }
    let _ = writeln!(
        out,
        "<text x=\"{RIGHT}\" y=\"28.5\" text-anchor=\"end\">pale: each step; bold: moving mean</text>"
    );
    out.push_str("</svg>\n");
    Some(out)
}

/// Writes the drawing of `rows`, whole or not at all; fewer than two rows write nothing.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, rows: &[Row]) -> io::Result<()> {
    losses(rows).map_or(Ok(()), |text| write_whole(path, |out| out.write_all(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: u64, cpo: f64) -> Vec<Row> {
        let row = |step: u64| Row {
            step,
            n_steps: n,
            epoch: 0,
            loss: 0.0,
            swrd: 3.0 / (1.0 + step as f64 / 50.0) + if step.is_multiple_of(2) { 0.2 } else { 0.0 },
            cpo: cpo / step as f64,
            learning_rate: 1e-3,
            gradient: 1.0,
            n_tokens: 10,
            tokens_per_s: 1.0,
            elapsed_s: 1.0,
            resident_bytes: None,
        };
        (1..=n).map(row).collect()
    }

    #[test]
    fn a_drawing_has_both_losses_and_labelled_axes_and_is_bounded() {
        for n in [2, 3, 40, 20_000] {
            let text = losses(&rows(n, 0.7)).unwrap();
            for part in ["swrd raw", "swrd mean", "cpo raw", "cpo mean", ">step<", "loss, nats", ">0<"] {
                assert!(text.contains(part), "{n}: {part}\n{text}");
            }
            assert!(text.len() < 64 << 10, "{n}: {} bytes", text.len());
            assert!(!text.contains("NaN") && !text.contains("inf"));
            assert_eq!(text, losses(&rows(n, 0.7)).unwrap());
        }
        assert!(!losses(&rows(9, 0.0)).unwrap().contains("CPO"));
        assert_eq!((losses(&rows(1, 0.7)), losses(&[])), (None, None));
    }

    #[test]
    fn a_loss_that_is_no_number_leaves_the_rest() {
        let mut rows = rows(40, 0.7);
        rows[7].swrd = f64::NAN;
        rows[8].cpo = 1e30;
        let text = losses(&rows).unwrap();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for range in [0.003, 0.7, 1.0, 3.3, 99.0, 12_345.0] {
            let n = range / tick(range);
            assert!((2.0..=6.0).contains(&n), "{range}: {n}");
        }
        assert_eq!((short(0.5), short(2.0), short(100.0)), ("0.5".into(), "2".into(), "100".into()));
    }
}
