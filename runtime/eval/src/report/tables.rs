//! The tables of a report, as content.
//!
//! Not computed here: any figure. Invariant: every figure of a part stands in some table, with its n.

use super::content::{Cell, Table};
use super::figure::{GAP, NONE, Unit, whole};
use super::findings::title as suite_title;
use super::threshold;
use super::visible::{MAX_NAME, line};
use super::words::{self, FIGURES};
use crate::item::{Kind, Overlap};
use crate::metric::roc::{BUDGETS, at_budget};
use crate::run::Header;
use crate::suite::builtin;
use crate::summary::{Metric, Part, Reliability, Summary};
use r2d_core::policy::Policy;
use std::collections::BTreeMap;

type Metrics = BTreeMap<String, Metric>;

/// What a part is called.
pub(super) fn title(header: &Header, part: &Part) -> String {
    match part.kind {
        Some(_) => suite_title(header, &part.suite),
        None => "All labelled requests together".to_owned(),
    }
}

/// The figures of one part that everyone should see, one to a row.
pub(super) fn figures(header: &Header, part: &Part) -> Table {
    let known = FIGURES.iter().filter(|named| named.is_main).map(|named| named.key);
    let unknown = part.metrics.keys().map(String::as_str).filter(|key| FIGURES.iter().all(|n| n.key != *key));
    let (title, n) = (title(header, part), whole(part.n));
    let caption = match part.kind {
        Some(kind) => format!("{title}: {}, {n} items", words::kind(kind)),
        None => format!("{title}: {n} items"),
    };
    one_to_a_row(caption, part, known.chain(unknown))
}

/// The other figures of it.
pub(super) fn more_figures(header: &Header, part: &Part) -> Option<Table> {
    let keys = FIGURES.iter().filter(|named| !named.is_main).map(|named| named.key);
    let table = one_to_a_row(format!("{}: more figures", title(header, part)), part, keys);
    (!table.rows.is_empty()).then_some(table)
}

fn one_to_a_row<'a>(caption: String, part: &Part, keys: impl Iterator<Item = &'a str>) -> Table {
    let mut table =
        Table { caption, head: head(&["Figure", "Value", "95 % interval", "n"]), ..Table::default() };
    for key in keys {
        if let Some(metric) = part.metrics.get(key) {
            let unit = Unit::of(key);
            let (name, hint) = words::figure(key);
            table.rows.push(vec![
                Cell::Name { name, hint },
                Cell::Number(unit.show(metric.value)),
                Cell::Quiet(unit.range(metric)),
                Cell::Quiet(whole(metric.n)),
            ]);
        }
    }
    table
}

/// The figures that a breakdown compares, by kind.
fn compared(kind: Option<Kind>) -> &'static [&'static str] {
    match kind {
        Some(Kind::Harmful) => &[words::ATTACK_SUCCESS, words::ATTACK_SUCCESS_PHRASES, words::UNDECIDED],
        Some(Kind::Contrast) | None => &[
            words::ATTACK_SUCCESS,
            words::BLOCKED_SAFE,
            words::ATTACK_SUCCESS_PHRASES,
            words::BLOCKED_SAFE_PHRASES,
        ],
        Some(Kind::Benign) => &[words::BLOCKED_SAFE, words::BLOCKED_SAFE_PHRASES, words::UNDECIDED],
        Some(Kind::Choice) => &[words::ACCURACY, words::ACCURACY_BYTES],
        Some(Kind::QaExact) => &[words::EXACT, words::UNDECIDED],
    }
}

/// One row for each of `rows`, one column for each figure that any of them has.
fn breakdown(caption: String, first: &str, kind: Option<Kind>, rows: &[(Cell, &Metrics)]) -> Option<Table> {
    let keys = compared(kind).iter().filter(|key| rows.iter().any(|(_, m)| m.contains_key(**key)));
    let keys: Vec<&str> = keys.copied().collect();
    if keys.is_empty() || rows.is_empty() {
        return None;
    }
    let mut table = Table { caption, head: head(&[first]), ..Table::default() };
    table.head.extend(keys.iter().map(|key| words::column(key)));
    for (name, metrics) in rows {
        let cells =
            keys.iter().map(|key| metrics.get(*key).map_or(Cell::Empty, |metric| figure(key, metric)));
        table.rows.push(std::iter::once(name.clone()).chain(cells).collect());
    }
    Some(table)
}

fn figure(key: &str, metric: &Metric) -> Cell {
    let unit = Unit::of(key);
    let detail = format!("{}, n{GAP}{}", unit.range(metric), whole(metric.n));
    Cell::Figure { value: unit.show(metric.value), detail }
}

/// By category, for a suite that has any.
pub(super) fn by_category(header: &Header, part: &Part) -> Option<Table> {
    let rows: Vec<_> =
        part.by_category.iter().map(|(name, metrics)| (Cell::name(line(name, MAX_NAME)), metrics)).collect();
    breakdown(format!("{} by category", title(header, part)), "Category", part.kind, &rows)
}

/// By wrapper, for a suite that was wrapped.
pub(super) fn by_wrapper(summary: &Summary, part: &Part) -> Option<Table> {
    let same = summary.parts.iter().filter(|p| p.suite == part.suite);
    let rows: Vec<_> = same
        .map(|p| {
            (
                Cell::name(p.wrapper.as_ref().map_or("as they are".to_owned(), |w| line(w, MAX_NAME))),
                &p.metrics,
            )
        })
        .collect();
    if rows.len() < 2 {
        return None;
    }
    breakdown(format!("{} by form of attack", title(&summary.header, part)), "Form", part.kind, &rows)
}

/// What the items of `part` were held against, where the program knows the suite: a run does not say.
fn overlapped(part: &Part) -> &'static str {
    let known = |name: &str| builtin().iter().find(|suite| suite.manifest.name == name);
    let other = known(&part.suite).and_then(|suite| suite.manifest.overlap.as_ref());
    // A title has the name before its colon.
    let name = |title: &'static str| title.split_once(':').map_or(title, |(name, _)| name);
    other.and_then(|with| known(&with.suite)).map_or("the overlap suite", |suite| name(&suite.manifest.title))
}

/// With and without the items that stand in the overlap suite, where there are any.
pub(super) fn by_overlap(header: &Header, part: &Part) -> Option<Table> {
    let without = part.without_overlap.as_ref()?;
    let rows = [(Cell::name("all items"), &part.metrics), (Cell::name("without them"), without)];
    let other = overlapped(part);
    let caption = format!("{} with and without items that stand in {other}", title(header, part));
    let mut table = breakdown(caption, "Items", part.kind, &rows)?;
    let counts: Vec<_> = [Overlap::Exact, Overlap::Near, Overlap::None]
        .into_iter()
        .filter_map(|overlap| {
            let n = part.n_overlap.get(&overlap).filter(|n| **n > 0)?;
            Some(format!("{} {}", whole(*n), words::overlap(overlap)))
        })
        .collect();
    table.note = Some(format!(
        "Of a model that was trained on {other}, what stands in it says little about requests it never saw. Items: {}.",
        counts.join(", ")
    ));
    Some(table)
}

/// What thresholds would do; the first row is the present one.
pub(super) fn thresholds(policy: &Policy, part: &Part) -> Option<Table> {
    // What the policy decides by is the combined probability; a run without steps has the request's alone.
    let (series, roc) = part.roc.get_key_value("combined").or_else(|| part.roc.get_key_value("request"))?;
    let mut table = Table {
        caption: format!(
            "What other thresholds would do, from {} unsafe and {} safe requests",
            n_of(part, words::ATTACK_SUCCESS),
            n_of(part, words::BLOCKED_SAFE)
        ),
        note: Some(format!(
            "Read from the curve “{}”; requests that stay undecided come on top. Each threshold was chosen on the rows it is \
             measured on, so expect a little worse on others.",
            words::series(series)
        )),
        head: head(&["Over-refusal accepted", "unsafe_at", "Over-refusal", "Attack success left"]),
        rows: Vec::new(),
    };
    if let Some(now) = threshold::present(roc, policy.unsafe_at) {
        table.rows.push(vec![
            Cell::name("as it is now"),
            Cell::Number(policy.unsafe_at.to_string()),
            Cell::Number(Unit::Share.show(now.over_refusal)),
            Cell::Number(Unit::Share.show(now.attack_success)),
        ]);
    }
    for budget in BUDGETS {
        let affordable = at_budget(roc, budget);
        let is_censored = affordable.is_some_and(|a| a.censored);
        let hint = is_censored.then(|| "not fully read: measure again in shadow mode first".to_owned());
        let mut row = vec![Cell::Name { name: format!("at most {:.0}{GAP}%", 100.0 * budget), hint }];
        row.extend(match affordable {
            Some(a) => [
                Cell::Number(threshold::written(roc, &a)),
                Cell::Number(Unit::Share.show(a.point.over_refusal)),
                Cell::Number(Unit::Share.show(a.point.attack_success)),
            ],
            None => [Cell::Text("none affords it".to_owned()), Cell::Empty, Cell::Empty],
        });
        table.rows.push(row);
    }
    Some(table)
}

/// The rows of a figure, as a number.
fn n_of(part: &Part, key: &str) -> String {
    whole(part.metrics.get(key).map_or(0, |metric| metric.n))
}

/// The numbers behind a reliability plot.
pub(super) fn reliability(series: &str, reliability: &Reliability) -> Table {
    let mut table = Table {
        caption: format!("Reliability, {}", words::series(series)),
        head: head(&["P(UNSAFE)", "Mean", "Were unsafe", "n"]),
        ..Table::default()
    };
    for bin in &reliability.bins {
        let (mean, share) = if bin.n == 0 {
            (NONE.to_owned(), NONE.to_owned())
        } else {
            (format!("{:.2}", bin.mean_probability), Unit::Share.show(bin.share_unsafe))
        };
        table.rows.push(vec![
            Cell::name(format!("{:.1} to {:.1}", bin.from, bin.to)),
            Cell::Number(mean),
            Cell::Number(share),
            Cell::Quiet(whole(bin.n)),
        ]);
    }
    table
}

fn head(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn every_figure_of_a_part_has_a_row_even_one_without_words() {
        let mut summary = fixture::summary();
        let metric = Metric { value: 0.5, low: 0.4, high: 0.6, n: 9 };
        summary.parts[0].metrics.insert("share_of_moons".to_owned(), metric);
        let part = &summary.parts[0];
        let table = figures(&summary.header, part);
        let n_more = more_figures(&summary.header, part).map_or(0, |table| table.rows.len());
        assert_eq!(table.rows.len() + n_more, part.metrics.len());
        assert!(table.rows.iter().any(|row| row[0] == Cell::name("share of moons")));
    }

    #[test]
    fn rows_are_as_long_as_their_heads() {
        let summary = fixture::summary();
        let mut tables: Vec<Table> = Vec::new();
        for part in summary.parts.iter().chain(&summary.overall) {
            tables.push(figures(&summary.header, part));
            tables.extend(more_figures(&summary.header, part));
            tables.extend(by_category(&summary.header, part));
            tables.extend(by_wrapper(&summary, part));
            tables.extend(by_overlap(&summary.header, part));
            tables.extend(thresholds(&summary.header.policy, part));
            tables.extend(part.reliability.iter().map(|(series, r)| reliability(series, r)));
        }
        assert!(tables.len() > 10);
        for table in tables {
            assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{}", table.caption);
        }
    }

    #[test]
    fn what_items_were_held_against_has_its_own_name_or_none() {
        let mut part = fixture::summary().parts.swap_remove(0);
        for (suite, other) in [("harmbench", "AdvBench"), ("shopfloor", "the overlap suite")] {
            part.suite = suite.to_owned();
            assert_eq!(overlapped(&part), other);
        }
    }

    #[test]
    fn a_suite_without_wrapped_parts_has_no_table_of_them() {
        let mut summary = fixture::summary();
        summary.parts.retain(|part| part.wrapper.is_none());
        assert!(summary.parts.iter().all(|part| by_wrapper(&summary, part).is_none()));
    }
}
