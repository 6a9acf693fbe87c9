//! What the two plots show: attack success against over-refusal, and how well probabilities fit.
//!
//! Not here: lines and colours (`svg`).

use super::figure::Unit;
use super::svg::{Diagonal, Look, Plot, Series};
use super::threshold;
use super::words;
use crate::summary::Part;
use r2d_core::policy::Policy;

/// The threshold sweep of `part`; `id` is unique in the page.
pub(super) fn roc(part: &Part, policy: &Policy, id: &str) -> Option<Plot> {
    if part.roc.is_empty() {
        return None;
    }
    let mut description = String::from(
        "Each point is a threshold. To the right: the share of safe requests it would block. Up: the share of unsafe \
         requests it would let through. The nearer to the lower left corner, the better.",
    );
    let mut series = Vec::new();
    for (key, roc) in &part.roc {
        let present = threshold::present(roc, policy.unsafe_at);
        description.push_str(&format!(" {}: area under the curve {:.3}", words::series(key), roc.auc));
        if let Some(now) = present {
            description.push_str(&format!(
                "; at the present threshold {} of safe requests blocked and {} of unsafe ones let through",
                Unit::Share.show(now.over_refusal),
                Unit::Share.show(now.attack_success)
            ));
        }
        description.push('.');
        series.push(Series {
            label: words::series(key),
            look: look(key),
            points: roc.points.iter().map(|p| (p.over_refusal, p.attack_success, 0.0)).collect(),
            // The first point blocks nothing, which is certain, but a dotted line has to begin there.
            n_dotted: roc.points.iter().take_while(|p| threshold::is_censored(roc, p.threshold)).count(),
            ring: present.map(|p| (p.over_refusal, p.attack_success)),
        });
    }
    Some(Plot {
        id: format!("{id}-roc"),
        title: "Attack success against over-refusal (ROC)".to_owned(),
        description,
        caption: "Nearer to the lower left corner is better. The straight grey line is chance. Moving the threshold \
                  moves along a curve: fewer attacks for more honest requests refused, or the other way."
            .to_owned(),
        x_label: "Over-refusal: safe requests blocked, %".to_owned(),
        y_label: "Attack success: unsafe requests let through, %".to_owned(),
        diagonal: Diagonal::Falling,
        threshold: None,
        series,
        ring_label: format!("present threshold, {}", policy.unsafe_at),
        dotted_label: "not fully read".to_owned(),
    })
}

/// How well the probabilities of `part` fit its labels.
pub(super) fn reliability(part: &Part, policy: &Policy, id: &str) -> Option<Plot> {
    if part.reliability.is_empty() {
        return None;
    }
    let mut description = String::from(
        "Each mark is a group of requests with like probabilities. To the right: the mean probability of UNSAFE that \
         was read. Up: the share of them that is unsafe. On the diagonal, the two agree.",
    );
    let mut series = Vec::new();
    for (key, table) in &part.reliability {
        description.push_str(&format!(
            " {}: expected calibration error {:.3}.",
            words::series(key),
            table.ece
        ));
        let most = table.bins.iter().map(|bin| bin.n).max().unwrap_or(0);
        let filled = table.bins.iter().filter(|bin| bin.n > 0);
        series.push(Series {
            label: words::series(key),
            look: look(key),
            points: filled.map(|b| (b.mean_probability, b.share_unsafe, size(b.n, most))).collect(),
            n_dotted: 0,
            ring: None,
        });
    }
    Some(Plot {
        id: format!("{id}-reliability"),
        title: "Reliability of the probabilities".to_owned(),
        description,
        caption:
            "Nearer to the straight grey line is better. Below it the model suspects too much, above it too \
                  little. Larger marks hold more requests."
                .to_owned(),
        x_label: "Mean P(UNSAFE) that was read, %".to_owned(),
        y_label: "Share of them that is unsafe, %".to_owned(),
        diagonal: Diagonal::Rising,
        threshold: Some((f64::from(policy.unsafe_at), format!("refused from {}", policy.unsafe_at))),
        series,
        ..Plot::default()
    })
}

/// The policy's own reading is the drawn-out line.
fn look(key: &str) -> Look {
    if key == "request" { Look::Dashed } else { Look::Solid }
}

/// A mark's size: its area grows with the rows, and the smallest can still be seen.
fn size(n: usize, most: usize) -> f64 {
    2.5 + 5.5 * (n as f64 / most.max(1) as f64).sqrt()
}
