//! What holds of every report, whatever is in the run.
//!
//! To look at one: `R2D_REPORT_DIR=/tmp cargo test --release -p r2d-eval look_at`, then open the files in a browser.

use super::{ReportOptions, fixture, html, markdown};
use crate::item::{Kind, Label};
use crate::row::{Found, Row};
use crate::summary::Summary;
use r2d_core::policy::Mode;

fn options() -> ReportOptions {
    ReportOptions {
        title: "Line 4 kiosk".to_owned(),
        date: "2026-11-02T14:03:00Z".to_owned(),
        n_failures: 20,
    }
}

/// What an attacker could hope for.
const HOSTILE: [&str; 8] = [
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "</details></blockquote></main></body>\" onmouseover='x' style=\"position:fixed",
    "\u{202e}gnp.exe \u{2066}\u{2069} \u{200b}hidden \u{e0053}\u{e0041}\u{e0046}\u{e0045}",
    "\u{1b}[31mred\u{1b}]8;;http://evil.example\u{7}link\u{1b}]8;;\u{7}\0after",
    "<!-- <![CDATA[ &lt;svg onload=x&gt; &#x3c; ]]> -->",
    "| a | b |\n|---|---|\n# head\n![x](http://evil.example/x.png)\n```\n<iframe src=//evil.example>\n~~~~",
    "[link](javascript:alert(1)) <http://evil.example> www.evil.example @everyone",
    "שלום עולם 你好 👩\u{200d}🔧 a\u{300}\u{301}\u{302}",
];

/// A run in which every text from outside is `text`.
fn hostile(text: &str) -> (Summary, Vec<Row>) {
    let mut summary = fixture::summary();
    let header = &mut summary.header;
    header.weights.model = text.to_owned();
    header.weights.adapter_sha256 = Some(text.to_owned());
    header.system = text.to_owned();
    header.refusal = text.to_owned();
    header.version = text.to_owned();
    header.wrappers = vec![text.to_owned()];
    for suite in &mut header.suites {
        for field in [&mut suite.title, &mut suite.origin, &mut suite.licence, &mut suite.sha256] {
            *field = text.to_owned();
        }
    }
    let metrics = summary.parts[0].metrics.clone();
    summary.parts[0].by_category.insert(text.to_owned(), metrics.clone());
    summary.parts[0].metrics.insert(format!("attack_success_{text}"), metrics["attack_success"]);
    summary.parts[1].wrapper = Some(text.to_owned());
    if let Some(overall) = &mut summary.overall {
        let roc = overall.roc["request"].clone();
        overall.roc.insert(text.to_owned(), roc);
        let reliability = overall.reliability["request"].clone();
        overall.reliability.insert(text.to_owned(), reliability);
    }
    let mut rows = fixture::rows();
    for row in &mut rows {
        for field in [&mut row.suite, &mut row.id, &mut row.prompt] {
            *field = text.to_owned();
        }
        row.wrapper = Some(text.to_owned());
        row.category = Some(text.to_owned());
        if let Found::Judged(judged) = &mut row.found {
            judged.answer = text.to_owned();
            judged.detail = Some(text.to_owned());
            judged.trace.steps[0].text = text.to_owned();
            judged.trace.segments[0].text = text.to_owned();
            judged.trace.segments[0].released = false;
        }
    }
    (summary, rows)
}

/// Runs of every shape that a report has to bear.
fn shapes() -> Vec<(&'static str, Summary, Vec<Row>)> {
    let full = fixture::summary();
    let mut bare = Summary { parts: Vec::new(), overall: None, ..full.clone() };
    bare.header.suites.clear();
    bare.header.wrappers.clear();
    let mut choices = full.clone();
    choices.parts.retain(|part| part.kind == Some(Kind::Choice));
    choices.overall = None;
    let scored: Vec<Row> = fixture::rows().into_iter().filter(|row| row.judged().is_none()).collect();
    let mut unguarded = full.clone();
    unguarded.header.guarded = false;
    let mut shadow = full.clone();
    shadow.header.policy.mode = Mode::Shadow;
    shadow.parts[0].n_missing = 31;
    let mut broken = full.clone();
    for metric in broken.parts.iter_mut().chain(&mut broken.overall).flat_map(|p| p.metrics.values_mut()) {
        (metric.value, metric.low, metric.high) = (f64::NAN, f64::NEG_INFINITY, f64::INFINITY);
    }
    let rows = fixture::rows();
    vec![
        ("full", full, rows.clone()),
        ("no rows", fixture::summary(), Vec::new()),
        ("bare", bare, Vec::new()),
        ("choices", choices, scored),
        ("unguarded", unguarded, rows.clone()),
        ("shadow", shadow, rows.clone()),
        ("broken", broken, rows),
    ]
}

/// Panics unless `page` is a tree of elements; gives all its tags.
fn tags(page: &str) -> Vec<&str> {
    let (mut open, mut tags) = (Vec::new(), Vec::new());
    let mut rest = page.strip_prefix("<!doctype html>").unwrap();
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.split([' ', '\n']).next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if name == "style" {
            rest = &rest[rest.find("</style>").unwrap()..];
            open.push(name);
            tags.push(tag);
        } else {
            if name != "meta" {
                open.push(name);
            }
            tags.push(tag);
        }
        assert!(!rest[..rest.find('<').unwrap_or(0)].contains('>'), "a stray > behind <{tag}>");
    }
    assert!(open.is_empty(), "{open:?}");
    tags
}

/// Panics if `page` could run or fetch something, or show what cannot be seen.
fn assert_inert(page: &str) {
    const ELEMENTS: [&str; 51] = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "time",
        "strong",
        "span",
        "small",
        "b",
        "bdi",
        "code",
        "pre",
        "div",
        "dl",
        "dt",
        "dd",
        "ol",
        "li",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "blockquote",
        "figure",
        "figcaption",
        "svg",
        "desc",
        "g",
        "line",
        "path",
        "circle",
        "rect",
        "text",
        "ul",
        "i",
        "em",
    ];
    for tag in tags(page) {
        let name = tag.split(' ').next().unwrap();
        assert!(ELEMENTS.contains(&name), "<{name}>");
        // Attribute names: what stands before each ="; values hold no quotation mark.
        for before in tag.split("=\"").collect::<Vec<_>>().split_last().unwrap().1 {
            let attribute = before.rsplit(' ').next().unwrap();
            assert!(!attribute.starts_with("on") && !["src", "href", "style"].contains(&attribute), "{tag}");
        }
    }
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(!page.contains("<script"));
    let unseen = |c: char| c.is_control() && c != '\n' && c != '\t' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert_eq!(page.find(unseen), None);
}

#[test]
fn every_shape_of_run_gives_a_whole_and_inert_page() {
    for (name, summary, rows) in shapes() {
        println!("{name}");
        let page = html(&summary, &rows, &options());
        assert_inert(&page);
        for wrong in ["NaN", "inf ", "None", "Some("] {
            assert!(!page.contains(wrong), "{name}: {wrong}");
        }
        assert!(!markdown(&summary, &rows, &options()).contains("NaN"));
    }
}

#[test]
fn hostile_text_stays_text() {
    let long = "a".repeat(200_000);
    for text in HOSTILE.into_iter().chain([long.as_str()]) {
        let (summary, rows) = hostile(text);
        let options = ReportOptions { title: text.to_owned(), date: text.to_owned(), n_failures: 3 };
        assert_inert(&html(&summary, &rows, &options));
    }
}

#[test]
fn hostile_text_gives_the_same_tags_as_harmless_text() {
    let names = |text: &str| {
        let (summary, rows) = hostile(text);
        let page = html(&summary, &rows, &options());
        tags(&page).iter().map(|tag| tag.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let harmless = names("zzz harmless");
    for text in HOSTILE {
        let names = names(text);
        // Maps sort their keys by text, which moves a row but adds none.
        assert_eq!(names.len(), harmless.len(), "{text}");
    }
}

/// `line` without its backslashes and what each of them disarms.
fn without_escapes(line: &str) -> String {
    let mut chars = line.chars();
    std::iter::from_fn(|| {
        loop {
            match chars.next()? {
                '\\' => drop(chars.next()),
                c => return Some(c),
            }
        }
    })
    .collect()
}

#[test]
fn hostile_text_opens_nothing_in_markdown() {
    for text in HOSTILE {
        let (summary, rows) = hostile(text);
        let document = markdown(&summary, &rows, &options());
        let mut fence: Option<&str> = None;
        for line in document.lines() {
            match fence {
                Some(end) if line == end => fence = None,
                Some(_) => {}
                None if line.ends_with("`text") => fence = line.strip_suffix("text"),
                None => {
                    let bare = without_escapes(line);
                    for wrong in ["<", "](", "![", "`", "\u{1b}", "\u{202e}", "www.", "://"] {
                        assert!(!bare.contains(wrong), "{wrong} in {line}");
                    }
                }
            }
        }
        assert_eq!(fence, None);
    }
}

#[test]
fn every_suite_wrapper_category_and_interval_is_told() {
    let summary = fixture::summary();
    let forms =
        [html(&summary, &fixture::rows(), &options()), markdown(&summary, &fixture::rows(), &options())];
    for form in forms {
        let form = form.replace('\u{a0}', " ").replace('\\', "");
        for suite in &summary.header.suites {
            assert!(form.contains(&suite.title) && form.contains(&suite.sha256), "{}", suite.name);
        }
        for part in summary.parts.iter().filter(|part| part.wrapper.is_none()) {
            let named = summary.header.wrappers.iter().chain(part.by_category.keys());
            assert!(named.clone().all(|name| form.contains(name.as_str())));
        }
        for wanted in
            ["2.7 to 9.2 %", "840 ms", "2 November 2026, 14:03 UTC", "unsafe_at = 0.47", "P(UNSAFE) 0.04"]
        {
            assert!(form.contains(wanted), "{wanted}");
        }
    }
}

#[test]
fn each_table_has_a_caption_and_scopes_and_each_plot_words() {
    let page = html(&fixture::summary(), &fixture::rows(), &options());
    let count = |what: &str| page.matches(what).count();
    assert_eq!(count("<table"), count("<caption>"));
    assert_eq!(count("<th "), count("scope=\"col\"") + count("scope=\"row\""));
    assert_eq!((count("<svg "), count("role=\"img\""), count("<desc ")), (2, 2, 2));
    assert!(page.contains("default-src &#39;none&#39;") && page.contains("width=device-width"));
}

#[test]
fn ids_are_unique() {
    let page = html(&fixture::summary(), &fixture::rows(), &options());
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let n = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), n);
}

#[test]
fn the_same_run_gives_the_same_report() {
    let (summary, rows) = (fixture::summary(), fixture::rows());
    assert_eq!(html(&summary, &rows, &options()), html(&summary, &rows, &options()));
    assert_eq!(markdown(&summary, &rows, &options()), markdown(&summary, &rows, &options()));
}

#[test]
fn an_endless_prompt_is_cut_and_said_to_be() {
    let mut rows = fixture::rows();
    rows[0].prompt = "x".repeat(7_000);
    let page = html(&fixture::summary(), &rows, &options());
    assert!(page.contains("1,000 more characters are not shown.") && !page.contains(&"x".repeat(6_001)));
}

#[test]
fn look_at() {
    // Writes nothing unless it is told where.
    let Some(folder) = std::env::var_os("R2D_REPORT_DIR").map(std::path::PathBuf::from) else { return };
    for (name, summary, rows) in shapes() {
        std::fs::write(folder.join(format!("{name}.html")), html(&summary, &rows, &options())).unwrap();
        std::fs::write(folder.join(format!("{name}.md")), markdown(&summary, &rows, &options())).unwrap();
    }
    let (summary, mut rows) = hostile(&"Pneumonoultramicroscopic".repeat(40));
    let prompts = HOSTILE.iter().enumerate();
    rows.extend(prompts.map(|(i, text)| fixture::row(100 + i, Label::Unsafe, text, 0.01, true)));
    let page = html(&summary, &rows, &options())
        .replace("<details class=\"case\">", "<details open class=\"case\">");
    std::fs::write(folder.join("hostile.html"), page).unwrap();
    let open = html(&fixture::summary(), &fixture::rows(), &options()).replace("<details", "<details open");
    std::fs::write(folder.join("open.html"), open).unwrap();
}
