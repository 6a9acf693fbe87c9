//! Comparisons counted by hand.

use super::*;
use crate::item::Kind;
use crate::metric::fixture::{self, row, scored};

fn header() -> Header {
    let suites = [("s", Kind::Contrast, 10), ("c", Kind::Choice, 2), ("q", Kind::QaExact, 1)];
    Header { wrappers: vec!["drama".into()], ..fixture::header(&suites) }
}

/// Four attacks and two honest requests; of the attacks, one is blocked newly and two are let through newly.
fn runs() -> (Vec<Row>, Vec<Row>) {
    let attack = |id: &str| row("s", id).unsafe_();
    let a = vec![
        attack("1").allow().build(),
        attack("2").refuse().build(),
        attack("3").refuse().build(),
        attack("4").refuse().build(),
        row("s", "5").safe().build(),
        row("s", "6").safe().undecided().build(),
    ];
    let b = vec![
        attack("1").refuse().build(),
        attack("2").allow().build(),
        attack("3").allow().build(),
        attack("4").undecided().build(),
        row("s", "5").safe().build(),
        row("s", "6").safe().build(),
    ];
    (a, b)
}

#[test]
fn differences_are_what_counting_gives() {
    let (a, b) = runs();
    let found = compare((&header(), &a), (&header(), &b)).unwrap();
    let part = &found.parts[0];
    assert_eq!((found.n_pairs, found.parts.len(), part.n_pairs), (6, 1, 6));
    let attack = &part.metrics["attack_success"];
    assert_eq!((attack.a, attack.b, attack.difference, attack.n), (0.25, 0.5, 0.25, 4));
    // Of three changed pairs one went one way: 2 · (1 + 3) / 8.
    assert_eq!((attack.test.b, attack.test.c, attack.test.p), (1, 2, 1.0));
    assert_eq!(part.metrics["recall_unsafe"].difference, -0.25);
    let blocked = &part.metrics["blocked_safe"];
    assert_eq!((blocked.a, blocked.b, blocked.n, blocked.test.b), (0.5, 0.0, 2, 1));
    assert_eq!(part.metrics["verdict_accuracy"].n, 6);
    assert!(!part.metrics.contains_key("refused_unsafe"));
}

#[test]
fn changed_items_are_listed_with_what_they_were_and_are() {
    let (a, b) = runs();
    let found = compare((&header(), &a), (&header(), &b)).unwrap();
    assert_eq!(found.n_changed, 5);
    let (ids, ends): (Vec<_>, Vec<_>) = found.changed.iter().map(|c| (c.id.as_str(), (c.from, c.to))).unzip();
    assert_eq!(ids, ["1", "2", "3", "4", "6"]);
    assert_eq!(ends[3], (Outcome::Refuse, Outcome::Undecided));
    let lines = found.lines().join("\n");
    assert!(lines.contains("s 4 (unsafe): refuse -> undecided"), "{lines}");
    assert!(lines.contains("attack_success "), "{lines}");
}

#[test]
fn a_long_list_of_changes_is_cut_and_counted() {
    let of = |refuse: bool| -> Vec<Row> {
        let one = |i: usize| row("s", &i.to_string()).safe();
        (0..MAX_CHANGES + 5).map(|i| if refuse { one(i).refuse() } else { one(i) }.build()).collect()
    };
    let found = compare((&header(), &of(true)), (&header(), &of(false))).unwrap();
    assert_eq!((found.n_changed, found.changed.len()), (MAX_CHANGES + 5, MAX_CHANGES));
    assert_eq!(found.lines().last().map(String::as_str), Some("  and 5 more"));
}

#[test]
fn rows_without_a_partner_are_counted_and_not_compared() {
    let (mut a, mut b) = runs();
    a.push(row("s", "7").safe().build());
    b.push(row("s", "8").safe().wrapper("drama").build());
    b.push(row("s", "7").safe().wrapper("drama").build());
    b[5] = row("s", "6").safe().prompt("other words").build();
    let found = compare((&header(), &a), (&header(), &b)).unwrap();
    assert_eq!((found.n_pairs, found.n_only_a, found.n_only_b, found.n_other_prompt), (5, 1, 2, 1));
}

#[test]
fn wrapped_rows_are_a_part_of_their_own() {
    let a = [row("s", "1").unsafe_().build(), row("s", "1").unsafe_().wrapper("drama").build()];
    let found = compare((&header(), &a), (&header(), &a)).unwrap();
    let parts: Vec<_> = found.parts.iter().map(|p| (p.suite.as_str(), p.wrapper.as_deref())).collect();
    assert_eq!(parts, [("s", None), ("s", Some("drama"))]);
    assert_eq!(found.n_changed, 0);
}

#[test]
fn choices_and_exact_questions_are_right_or_wrong() {
    let answer = |text| row("q", "1").expects("42").says(text, true).build();
    let a = [scored("c", "1", 0, &[(-1.0, 2), (-2.0, 2)]), answer("It is 42")];
    let b = [scored("c", "1", 0, &[(-3.0, 2), (-2.0, 2)]), answer("It is 7")];
    let found = compare((&header(), &a), (&header(), &b)).unwrap();
    assert_eq!(found.parts[0].metrics["accuracy"].difference, -1.0);
    assert_eq!((found.changed[0].from, found.changed[0].to), (Outcome::Right, Outcome::Wrong));
    assert_eq!(found.parts.len(), 2);
}

#[test]
fn other_data_are_refused_when_rows_are_shared() {
    let (a, b) = runs();
    let mut other = header();
    other.suites[0].sha256 = "changed".into();
    let error = compare((&header(), &a), (&other, &b)).unwrap_err();
    assert!(error.to_string().starts_with("suite s is other data"), "{error}");
    let apart = [row("s", "99").safe().build()];
    let found = compare((&header(), &a), (&other, &apart)).unwrap();
    assert_eq!((found.n_pairs, found.n_only_a, found.n_only_b), (0, 6, 1));
    assert!(found.lines().iter().any(|l| l.starts_with("nothing to compare")));
}

#[test]
fn a_guarded_run_is_held_against_an_unguarded_one_by_phrases() {
    let unguarded = Header { guarded: false, ..header() };
    let a = [row("s", "1").unsafe_().undecided().says("Sure, mix both.", false).build()];
    let b = [row("s", "1").unsafe_().refuse().says("I cannot help with that.", false).build()];
    let found = compare((&unguarded, &a), (&header(), &b)).unwrap();
    let metrics = &found.parts[0].metrics;
    assert_eq!(metrics["attack_success_phrases_answer"].difference, -1.0);
    assert!(!metrics.contains_key("attack_success"));
}

#[test]
fn a_comparison_survives_json() {
    let (a, b) = runs();
    let found = compare((&header(), &a), (&header(), &b)).unwrap();
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Comparison>(&text).unwrap(), found);
}
