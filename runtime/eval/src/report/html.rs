//! The page: its order, its headings, and how content is dressed in HTML.
//!
//! Not here: figures, words, which failures are shown. Invariants: no script, no link, nothing fetched; each section
//! has a heading, each table a caption, and nothing is told by colour alone.

mod case;

use super::content::{Cell, Fact, Facts, Table};
use super::findings::{self, Warning};
use super::markup::{Attributes, Html};
use super::visible::{MAX_NAME, line};
use super::{ReportOptions, failures, identity, plot, svg, tables, words};
use crate::row::Row;
use crate::summary::{Part, Summary};
use std::collections::BTreeSet;

/// What the browser may do with the page: use its own style.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                              form-action 'none'";

/// The whole page.
pub(super) fn page(summary: &Summary, rows: &[Row], options: &ReportOptions) -> String {
    let mut h = Html::default();
    h.raw("<!doctype html>\n");
    h.element("html", &[("lang", "en")], |h| {
        h.element("head", &[], |h| {
            h.void("meta", &[("charset", "utf-8")]);
            h.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", CONTENT_POLICY)]);
            h.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            h.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            h.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
            h.leaf("title", &[], &options.title);
            h.element("style", &[], |h| h.raw(include_str!("report.css")));
        });
        h.element("body", &[], |h| {
            h.element("header", &[], |h| opening(h, summary, options));
            h.element("main", &[], |h| {
                suites(h, summary);
                breakdowns(h, summary);
                thresholds(h, summary);
                worst(h, summary, rows, options.n_failures);
                glossary(h);
                exact(h, summary);
            });
        });
    });
    h.into_string()
}

fn opening(h: &mut Html, summary: &Summary, options: &ReportOptions) {
    h.leaf("h1", &[], &options.title);
    if !options.date.is_empty() {
        h.element("p", &[("class", "date")], |h| {
            h.leaf("time", &[("datetime", &options.date)], &words::date(&options.date));
        });
    }
    facts(h, &identity::at_a_glance(&summary.header));
    h.element("section", &[("class", "answer")], |h| {
        h.leaf("h2", &[], "In short");
        let found = findings::findings(summary);
        if found.is_empty() {
            h.leaf("p", &[], "There is no figure to tell yet.");
        }
        for finding in found {
            h.element("p", &[], |h| {
                h.text(&finding.before);
                h.leaf("strong", &[], &finding.weighty);
                h.leaf("span", &[("class", "quiet")], &finding.after);
            });
        }
        let warned = findings::warnings(summary);
        if !warned.is_empty() {
            warnings(h, &warned);
        }
    });
}

fn warnings(h: &mut Html, warned: &[Warning]) {
    h.element(
        "div",
        &[("class", "warning"), ("role", "note"), ("aria-label", "Before you rely on this")],
        |h| {
            for warning in warned {
                h.element("p", &[], |h| {
                    h.leaf("strong", &[], &format!("{}. ", warning.title));
                    h.text(&warning.text);
                });
            }
        },
    );
}

fn suites(h: &mut Html, summary: &Summary) {
    section(h, "Figures of each suite", |h| {
        let plain: Vec<&Part> = summary.parts.iter().filter(|part| part.wrapper.is_none()).collect();
        if plain.is_empty() {
            h.leaf("p", &[], "No suite has results yet.");
        }
        let together = summary.overall.iter().filter(|_| plain.len() > 1);
        let mut explained = BTreeSet::new();
        for part in plain.iter().copied().chain(together) {
            h.leaf("h3", &[], &tables::title(&summary.header, part));
            table(h, &tables::figures(&summary.header, part).explained_once(&mut explained));
            if let Some(more) = tables::more_figures(&summary.header, part) {
                h.element("details", &[], |h| {
                    h.leaf("summary", &[], "More figures");
                    table(h, &more);
                });
            }
        }
    });
}

fn breakdowns(h: &mut Html, summary: &Summary) {
    let header = &summary.header;
    let plain = || summary.parts.iter().filter(|part| part.wrapper.is_none());
    let groups = [
        ("By category", plain().filter_map(|part| tables::by_category(header, part)).collect::<Vec<_>>()),
        ("By form of attack", plain().filter_map(|part| tables::by_wrapper(summary, part)).collect()),
        (
            "With and without the overlap",
            plain().filter_map(|part| tables::by_overlap(header, part)).collect(),
        ),
    ];
    if groups.iter().all(|(_, tables)| tables.is_empty()) {
        return;
    }
    section(h, "Where it fails more and where less", |h| {
        for (title, tables) in groups.iter().filter(|(_, tables)| !tables.is_empty()) {
            h.leaf("h3", &[], title);
            tables.iter().for_each(|content| table(h, content));
        }
    });
}

fn thresholds(h: &mut Html, summary: &Summary) {
    let Some(overall) = &summary.overall else { return };
    let policy = &summary.header.policy;
    let plots = [plot::roc(overall, policy, "all"), plot::reliability(overall, policy, "all")];
    if plots.iter().all(Option::is_none) {
        return;
    }
    section(h, "Thresholds and probabilities", |h| {
        h.element("div", &[("class", "plots")], |h| {
            for plot in plots.iter().flatten() {
                h.element("figure", &[], |h| {
                    h.leaf("figcaption", &[], &plot.title);
                    svg::draw(h, plot);
                    h.leaf("p", &[("class", "note")], &plot.caption);
                });
            }
        });
        if let Some(content) = tables::thresholds(policy, overall) {
            table(h, &content);
        }
        if !overall.reliability.is_empty() {
            h.element("details", &[], |h| {
                h.leaf("summary", &[], "The numbers of the reliability plot");
                for (series, reliability) in &overall.reliability {
                    table(h, &tables::reliability(series, reliability));
                }
            });
        }
    });
}

fn worst(h: &mut Html, summary: &Summary, rows: &[Row], most: usize) {
    let failures = failures::find(rows, &summary.header, most);
    section(h, "Failures to read", |h| {
        h.leaf("h3", &[], "Unsafe requests that were answered");
        case::list(h, &failures.answered, "least suspected first", "No unsafe request was answered.");
        h.leaf("h3", &[], "Safe requests that were blocked");
        case::list(h, &failures.blocked, "most suspected first", "No safe request was blocked.");
    });
}

fn glossary(h: &mut Html) {
    section(h, "How to read this", |h| {
        h.element("dl", &[("class", "glossary")], |h| {
            for (term, meaning) in words::GLOSSARY {
                h.leaf("dt", &[], term);
                h.leaf("dd", &[], meaning);
            }
        });
    });
}

fn exact(h: &mut Html, summary: &Summary) {
    section(h, "What exactly was measured", |h| {
        let run = identity::run(&summary.header);
        h.leaf("h3", &[], &run.title);
        facts(h, &run);
        h.leaf("h3", &[], "The policy");
        h.leaf("pre", &[("class", "literal")], &identity::policy(&summary.header));
        for suite in identity::suites(&summary.header) {
            h.leaf("h3", &[], &line(&suite.title, MAX_NAME));
            facts(h, &suite);
        }
    });
}

fn section(h: &mut Html, title: &str, inside: impl FnOnce(&mut Html)) {
    h.element("section", &[], |h| {
        h.leaf("h2", &[], title);
        inside(h);
    });
}

fn facts(h: &mut Html, facts: &Facts) {
    h.element("dl", &[("class", "facts"), ("aria-label", &facts.title)], |h| {
        for (name, fact) in &facts.facts {
            h.leaf("dt", &[], name);
            match fact {
                Fact::Words(value) => h.leaf("dd", &[], value),
                Fact::Literal(value) => h.element("dd", &[], |h| h.leaf("code", &[], value)),
            }
        }
    });
}

fn table(h: &mut Html, table: &Table) {
    // The box is what scrolls; the keyboard has to reach it.
    let caption = table.caption.as_str();
    // Tables of figures follow one another: their columns stand under each other.
    let is_plain = table.rows.iter().flatten().any(|cell| matches!(cell, Cell::Quiet(_)));
    let class: Attributes = if is_plain { &[("class", "plain")] } else { &[] };
    h.element(
        "div",
        &[("class", "scroll"), ("tabindex", "0"), ("role", "region"), ("aria-label", caption)],
        |h| {
            h.element("table", class, |h| {
                h.leaf("caption", &[], caption);
                h.element("thead", &[], |h| {
                    h.element("tr", &[], |h| {
                        table.head.iter().for_each(|head| h.leaf("th", &[("scope", "col")], head))
                    });
                });
                h.element("tbody", &[], |h| {
                    for row in &table.rows {
                        h.element("tr", &[], |h| row.iter().for_each(|content| cell(h, content)));
                    }
                });
            });
        },
    );
    if let Some(note) = &table.note {
        h.leaf("p", &[("class", "note")], note);
    }
}

fn cell(h: &mut Html, cell: &Cell) {
    match cell {
        Cell::Name { name, hint } => h.element("th", &[("scope", "row")], |h| {
            h.leaf("bdi", &[], name);
            if let Some(hint) = hint {
                h.leaf("small", &[], hint);
            }
        }),
        Cell::Text(text) => h.leaf("td", &[("class", "text")], text),
        Cell::Number(number) => h.leaf("td", &[], number),
        Cell::Quiet(number) => h.leaf("td", &[("class", "quiet")], number),
        Cell::Figure { value, detail } => h.element("td", &[], |h| {
            h.text(value);
            h.leaf("small", &[], detail);
        }),
        Cell::Empty => h.leaf("td", &[("class", "quiet")], super::figure::NONE),
    }
}
