//! A failure as a person reads it: what was asked, what was thought and read, what was answered, what was decided.

use crate::report::failures::{Case, Cases};
use crate::report::figure::whole;
use crate::report::markup::Html;
use crate::report::visible::{MAX_TEXT, clip, line};
use crate::report::words;
use r2d_core::pivot::{Pivot, Reading};

/// Characters of a prompt that stand in for it.
const MAX_LINE: usize = 110;

/// The failures of one sort.
pub(super) fn list(h: &mut Html, cases: &Cases, order: &str, none: &str) {
    if cases.n == 0 {
        h.leaf("p", &[], none);
        return;
    }
    let shown = if cases.shown.len() < cases.n {
        format!("{} of {} are shown, {order}.", whole(cases.shown.len()), whole(cases.n))
    } else {
        format!("{} in all, {order}.", whole(cases.n))
    };
    h.leaf("p", &[("class", "quiet")], &shown);
    cases.shown.iter().for_each(|one| case(h, one));
}

fn case(h: &mut Html, case: &Case) {
    let Case { row, judged, p_unsafe } = case;
    h.element("details", &[("class", "case")], |h| {
        h.element("summary", &[], |h| {
            if let Some(p) = p_unsafe {
                h.leaf("span", &[("class", "probability")], &format!("P(UNSAFE) {p:.2}"));
            }
            h.leaf("bdi", &[("class", "prompt")], &line(&row.prompt, MAX_LINE));
            h.leaf("small", &[], &words::place(row));
        });
        h.leaf("h4", &[], "Asked");
        quote(h, &row.prompt);
        h.leaf("h4", &[], "Read");
        h.element("ol", &[("class", "readings")], |h| {
            if let Some(request) = &judged.trace.request {
                reading(h, "The bare request", None, Some(request.pivot), Some(&request.reading), None);
            }
            for step in &judged.trace.steps {
                let back = step.rolled_back.then_some("taken back");
                let remark = back.or_else(|| words::step_end(step.end));
                let name = format!("Step {}", step.index);
                reading(h, &name, Some(&step.text), Some(step.pivot), Some(&step.reading), remark);
            }
            // A fixed refusal is not checked, and what was released stands below as the answer.
            let told = judged.trace.segments.iter().filter(|s| s.reading.is_some() || !s.released);
            for segment in told {
                let name = format!("Part {} of the answer", segment.index);
                let remark = if segment.released { None } else { Some("withheld") };
                let text = (!segment.released).then_some(segment.text.as_str());
                reading(h, &name, text, segment.pivot, segment.reading.as_ref(), remark);
            }
        });
        if judged.trace.request.is_none() && judged.trace.steps.is_empty() {
            h.leaf("p", &[("class", "quiet")], "Nothing was read.");
        }
        h.leaf("h4", &[], "Answered");
        if judged.answer.is_empty() {
            h.leaf("p", &[("class", "quiet")], "Nothing left the machine.");
        } else {
            quote(h, &judged.answer);
        }
        if judged.truncated {
            h.leaf("p", &[("class", "quiet")], "Cut at its token budget.");
        }
        h.leaf("h4", &[], "Decided");
        h.element("p", &[], |h| {
            h.text(&words::sentence(&words::verdict(&judged.verdict)));
            if let Some(detail) = &judged.detail {
                h.text(" ");
                h.leaf("bdi", &[("class", "quiet")], clip(detail, MAX_TEXT).0);
            }
        });
    });
}

fn reading(
    h: &mut Html,
    name: &str,
    text: Option<&str>,
    pivot: Option<Pivot>,
    reading: Option<&Reading>,
    remark: Option<&str>,
) {
    h.element("li", &[], |h| {
        h.element("div", &[("class", "mark")], |h| {
            h.leaf("span", &[], name);
            if let Some(pivot) = pivot {
                let class = match pivot {
                    Pivot::Safe => "pivot safe",
                    Pivot::Unsafe => "pivot unsafe",
                    Pivot::Rethink => "pivot rethink",
                };
                h.text(" ");
                h.leaf("b", &[("class", class)], &pivot.to_string());
            }
            if let Some(r) = reading {
                h.text(" ");
                h.leaf("span", &[("class", "quiet")], &words::reading(r));
            }
            if let Some(remark) = remark {
                h.leaf("span", &[("class", "quiet")], &format!(", {remark}"));
            }
        });
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            quote(h, text.trim());
        }
    });
}

/// Text from outside, in its own direction and cut where it is endless.
fn quote(h: &mut Html, text: &str) {
    let (shown, n_left) = clip(text, MAX_TEXT);
    h.leaf("blockquote", &[("dir", "auto")], shown);
    if n_left > 0 {
        h.leaf("p", &[("class", "quiet")], &format!("{} more characters are not shown.", whole(n_left)));
    }
}
