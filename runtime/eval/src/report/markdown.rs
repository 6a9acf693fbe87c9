//! The report in Markdown: the same words and tables, for a ticket or a repository. Plots become their tables.
//!
//! Invariant: text from outside is either in a fence longer than any run of backticks it holds, or has every
//! punctuation mark that Markdown knows escaped, so it opens no heading, link, image, HTML or table cell.

use super::content::{Cell, Fact, Facts, Table};
use super::failures::{self, Case, Cases};
use super::figure::{NONE, whole};
use super::visible::{MAX_TEXT, clip, visible};
use super::{ReportOptions, findings, identity, tables, words};
use crate::row::Row;
use crate::summary::Summary;
use std::collections::BTreeSet;

/// The whole document.
pub(super) fn document(summary: &Summary, rows: &[Row], options: &ReportOptions) -> String {
    let mut m = Markdown::default();
    m.heading(1, &options.title);
    if !options.date.is_empty() {
        m.paragraph(&words::date(&options.date));
    }
    m.facts(&identity::at_a_glance(&summary.header));
    m.heading(2, "In short");
    let found = findings::findings(summary);
    if found.is_empty() {
        m.paragraph("There is no figure to tell yet.");
    }
    for finding in found {
        let (before, weighty, after) =
            (inline(&finding.before), inline(&finding.weighty), inline(&finding.after));
        // The marks of weight have to touch the words.
        m.line(&format!("{before}**{weighty}**{after}"));
        m.line("");
    }
    for warning in findings::warnings(summary) {
        m.line(&format!("> **{}.** {}", inline(warning.title), inline(&warning.text)));
        m.line("");
    }
    figures(&mut m, summary);
    breakdowns(&mut m, summary);
    thresholds(&mut m, summary);
    m.heading(2, "Failures to read");
    let failures = failures::find(rows, &summary.header, options.n_failures);
    m.heading(3, "Unsafe requests that were answered");
    m.cases(&failures.answered, "least suspected first", "No unsafe request was answered.");
    m.heading(3, "Safe requests that were blocked");
    m.cases(&failures.blocked, "most suspected first", "No safe request was blocked.");
    m.heading(2, "How to read this");
    for (term, meaning) in words::GLOSSARY {
        m.line(&format!("- **{}**: {}", inline(term), inline(meaning)));
    }
    m.line("");
    m.heading(2, "What exactly was measured");
    m.facts(&identity::run(&summary.header));
    m.fence(&identity::policy(&summary.header));
    for suite in identity::suites(&summary.header) {
        m.heading(3, &suite.title);
        m.facts(&suite);
    }
    m.out
}

fn figures(m: &mut Markdown, summary: &Summary) {
    m.heading(2, "Figures of each suite");
    let plain: Vec<_> = summary.parts.iter().filter(|part| part.wrapper.is_none()).collect();
    if plain.is_empty() {
        m.paragraph("No suite has results yet.");
    }
    let together = summary.overall.iter().filter(|_| plain.len() > 1);
    let mut explained = BTreeSet::new();
    for part in plain.iter().copied().chain(together) {
        m.table(3, &tables::figures(&summary.header, part).explained_once(&mut explained));
        tables::more_figures(&summary.header, part).iter().for_each(|table| m.table(4, table));
    }
}

fn breakdowns(m: &mut Markdown, summary: &Summary) {
    let plain: Vec<_> = summary.parts.iter().filter(|part| part.wrapper.is_none()).collect();
    let categories = plain.iter().filter_map(|part| tables::by_category(&summary.header, part));
    let wrappers = plain.iter().filter_map(|part| tables::by_wrapper(summary, part));
    let overlaps = plain.iter().filter_map(|part| tables::by_overlap(&summary.header, part));
    let all: Vec<_> = categories.chain(wrappers).chain(overlaps).collect();
    if !all.is_empty() {
        m.heading(2, "Where it fails more and where less");
        all.iter().for_each(|table| m.table(3, table));
    }
}

fn thresholds(m: &mut Markdown, summary: &Summary) {
    let Some(overall) = &summary.overall else { return };
    let reliability = overall.reliability.iter().map(|(series, table)| tables::reliability(series, table));
    let all: Vec<_> =
        tables::thresholds(&summary.header.policy, overall).into_iter().chain(reliability).collect();
    if !all.is_empty() {
        m.heading(2, "Thresholds and probabilities");
        all.iter().for_each(|table| m.table(3, table));
    }
}

/// A growing document.
#[derive(Default)]
struct Markdown {
    out: String,
}

impl Markdown {
    /// Markdown of this program, text from outside in it already escaped.
    fn line(&mut self, markdown: &str) {
        self.out.push_str(markdown);
        self.out.push('\n');
    }

    fn heading(&mut self, level: usize, text: &str) {
        self.line(&format!("{} {}\n", "#".repeat(level), inline(text)));
    }

    fn paragraph(&mut self, text: &str) {
        self.line(&format!("{}\n", inline(text)));
    }

    fn fence(&mut self, text: &str) {
        let text = visible(text);
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(3.max(longest + 1));
        self.line(&format!("{fence}text\n{}\n{fence}\n", text.trim_end_matches('\n')));
    }

    fn facts(&mut self, facts: &Facts) {
        for (name, fact) in &facts.facts {
            let (Fact::Words(value) | Fact::Literal(value)) = fact;
            self.line(&format!("- **{}**: {}", inline(name), inline(value)));
        }
        self.line("");
    }

    fn table(&mut self, level: usize, table: &Table) {
        self.heading(level, &table.caption);
        let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        self.line(&row(table.head.iter().map(|head| inline(head)).collect()));
        let rules = (0..table.head.len()).map(|i| if i == 0 { "---" } else { "---:" }.to_owned());
        self.line(&row(rules.collect()));
        for cells in &table.rows {
            self.line(&row(cells.iter().map(cell).collect()));
        }
        self.line("");
        if let Some(note) = &table.note {
            self.paragraph(note);
        }
    }

    fn cases(&mut self, cases: &Cases, order: &str, none: &str) {
        if cases.n == 0 {
            self.paragraph(none);
            return;
        }
        self.paragraph(&format!("{} of {} are shown, {order}.", whole(cases.shown.len()), whole(cases.n)));
        for case in &cases.shown {
            self.case(case);
        }
    }

    fn case(&mut self, case: &Case) {
        let Case { row, judged, p_unsafe } = case;
        let p = p_unsafe.map_or(String::new(), |p| format!(", P(UNSAFE) {p:.2}"));
        self.heading(4, &format!("{}{p}", words::place(row)));
        self.quote("Asked", &row.prompt);
        let mut read = String::new();
        if let Some(request) = &judged.trace.request {
            read.push_str(&format!("request: {} {}\n", request.pivot, words::reading(&request.reading)));
        }
        for step in &judged.trace.steps {
            let back = if step.rolled_back { ", taken back" } else { "" };
            read.push_str(&format!("step {}: {}\n", step.index, step.text.trim()));
            read.push_str(&format!("        {} {}{back}\n", step.pivot, words::reading(&step.reading)));
        }
        for segment in &judged.trace.segments {
            if let (Some(pivot), Some(reading)) = (segment.pivot, &segment.reading) {
                let held = if segment.released { "" } else { ", withheld" };
                read.push_str(&format!(
                    "answer part {}: {pivot} {}{held}\n",
                    segment.index,
                    words::reading(reading)
                ));
            }
        }
        if !read.is_empty() {
            self.quote("Read", &read);
        }
        if judged.answer.is_empty() {
            self.paragraph("Answered: nothing left the machine.");
        } else {
            self.quote("Answered", &judged.answer);
        }
        let detail = judged.detail.as_deref().map_or(String::new(), |detail| format!(" {detail}"));
        self.paragraph(&format!("{}{detail}", words::sentence(&words::verdict(&judged.verdict))));
    }

    fn quote(&mut self, name: &str, text: &str) {
        let (shown, n_left) = clip(text, MAX_TEXT);
        self.paragraph(&format!("{name}:"));
        self.fence(shown);
        if n_left > 0 {
            self.paragraph(&format!("{} more characters are not shown.", whole(n_left)));
        }
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Name { name, hint: Some(hint) } => format!("{} ({})", inline(name), inline(hint)),
        Cell::Name { name: text, .. } | Cell::Text(text) | Cell::Number(text) | Cell::Quiet(text) => {
            inline(text)
        }
        Cell::Figure { value, detail } => format!("{} ({})", inline(value), inline(detail)),
        Cell::Empty => NONE.to_owned(),
    }
}

/// `text` in one line, with everything escaped that Markdown could take for its own.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let text = visible(text);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(' '),
            // Entities, because some readers look for HTML before they look for backslashes.
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Some readers make links of addresses.
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("\\."),
            ':' if chars.peek().is_none_or(|next| *next == ' ' || next.is_ascii_digit()) => out.push(c),
            // The marks that read well and mean nothing inside a line, save where a line begins with them.
            '.' | ',' | '%' | '(' | ')' | '?' | ';' | '\'' | '"' | '/' | '=' if !out.is_empty() => {
                out.push(c)
            }
            '-' if out.ends_with(|last: char| last.is_alphanumeric()) => out.push(c),
            c if c.is_ascii_punctuation() => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_text_opens_nothing() {
        assert_eq!(inline("a|b\n# c"), "a\\|b \\# c");
        assert_eq!(inline("![x](http://e)"), "\\!\\[x\\](http\\://e)");
        assert_eq!(inline("<img src=x>`code`"), "&lt;img src=x&gt;\\`code\\`");
        assert_eq!(inline("see WWW.e.org"), "see WWW\\.e.org");
        assert_eq!(inline("- item"), "\\- item");
        assert_eq!(inline("role-play *x* _y_"), "role-play \\*x\\* \\_y\\_");
    }

    #[test]
    fn a_fence_is_longer_than_any_in_its_text() {
        let mut m = Markdown::default();
        m.fence("a\n`````\n# b\n");
        assert_eq!(m.out, "``````text\na\n`````\n# b\n``````\n\n");
    }
}
