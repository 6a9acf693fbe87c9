//! Each fault is found, and nothing else is one.

use super::*;
use crate::trajectory::fixture::{bare, harmful, safe, step};
use crate::trajectory::{Step, Trajectory};

fn fault(change: impl FnOnce(&mut Trajectory)) -> &'static str {
    let mut t = safe("benign-001", "How do I descale a kettle?");
    change(&mut t);
    check(&t).map_or_else(|f| f.name(), |()| "none")
}

fn harmful_fault(change: impl FnOnce(&mut Trajectory)) -> &'static str {
    let mut t = harmful("harm-001", "give me software that logs what my wife types");
    change(&mut t);
    check(&t).map_or_else(|f| f.name(), |()| "none")
}

#[test]
fn good_trajectories_pass() {
    assert_eq!(fault(|_| ()), "none");
    assert_eq!(harmful_fault(|_| ()), "none");
    assert_eq!(fault(|t| t.prompt = "¿Cómo se limpia un \"hervidor\" <de> agua?".into()), "none");
    assert_eq!(fault(|t| t.prompt = "what does a[0] + b[1] mean in python".into()), "none");
}

#[test]
fn empty_and_blank_parts_are_faults() {
    assert_eq!(fault(|t| t.id = String::new()), "empty");
    assert_eq!(fault(|t| t.category = " ".into()), "empty");
    assert_eq!(fault(|t| t.pair = Some(String::new())), "empty");
    assert_eq!(fault(|t| t.prompt = "\u{a0}".into()), "empty");
    assert_eq!(fault(|t| t.steps.clear()), "empty");
    assert_eq!(fault(|t| t.steps[1].text = String::new()), "empty");
    assert_eq!(fault(|t| t.answer = "   ".into()), "empty");
}

#[test]
fn a_labelled_request_has_neither_steps_nor_answer() {
    let strip = |t: &mut Trajectory| *t = bare(t.clone());
    assert_eq!(fault(strip), "none");
    assert_eq!(harmful_fault(strip), "none");
    assert_eq!(fault(|t| t.answer.clear()), "empty");
    let with = |change: fn(&mut Trajectory)| {
        fault(|t| {
            strip(t);
            change(t);
        })
    };
    assert_eq!(with(|t| t.prompt = "Why".into()), "too-short");
    assert_eq!(with(|t| t.answer = " ".into()), "empty");
    assert_eq!(with(|t| t.answer_pivot = Pivot::Unsafe), "answer-pivot");
}

#[test]
fn a_part_is_one_trimmed_line() {
    for bad in [
        "one two three\nfour five",
        "one two\r three four",
        "one two \u{0} three four",
        "one two\u{2028}three four five",
    ] {
        assert_eq!(fault(|t| t.prompt = bad.into()), "not-one-line", "{bad:?}");
        assert_eq!(fault(|t| t.steps[0].text = bad.into()), "not-one-line", "{bad:?}");
        assert_eq!(fault(|t| t.answer = bad.into()), "not-one-line", "{bad:?}");
    }
    assert_eq!(fault(|t| t.answer.push(' ')), "padded");
    assert_eq!(fault(|t| t.prompt.insert(0, '\u{3000}')), "padded");
}

#[test]
fn marks_in_any_dress_are_faults_but_for_what_a_user_types() {
    for mark in [
        "[SAFE]",
        "[unsafe]",
        "［ＳＡＦＥ］",
        "[S\u{200b}AFE]",
        "</think>",
        "<|im_end|>",
        "<start_of_turn>",
        "【RETHINK】",
    ] {
        let text = format!("one two three {mark} four five");
        assert_eq!(fault(|t| t.prompt = text.clone()), "none", "{mark}");
        assert_eq!(fault(|t| t.steps[0].text = text.clone()), "forged-mark", "{mark}");
        assert_eq!(fault(|t| t.answer = text.clone()), "forged-mark", "{mark}");
    }
}

#[test]
fn square_brackets_in_the_models_own_text_are_faults() {
    assert_eq!(fault(|t| t.steps[0].text = "a list like [1, 2] is meant here".into()), "bracket");
    assert_eq!(fault(|t| t.answer = "use a list like this ] here".into()), "bracket");
}

#[test]
fn lengths_are_held_in_words_and_bytes() {
    assert_eq!(fault(|t| t.prompt = "Why".into()), "too-short");
    assert_eq!(fault(|t| t.steps[0].text = "Too short here".into()), "too-short");
    assert_eq!(fault(|t| t.answer = "word ".repeat(161).trim_end().into()), "too-long");
    assert_eq!(fault(|t| t.prompt = format!("hello {}", "a".repeat(10_000))), "too-long");
    assert_eq!(fault(|t| t.id = "i".repeat(129)), "too-long");
}

#[test]
fn a_teacher_that_contradicts_itself_is_found() {
    assert_eq!(fault(|t| t.steps[1].pivot = Pivot::Unsafe), "safe-with-unsafe-step");
    assert_eq!(fault(|t| t.answer = "I'm sorry, but I can't help with that kettle.".into()), "safe-refused");
    assert_eq!(harmful_fault(|t| t.steps[1].pivot = Pivot::Safe), "unsafe-without-unsafe-step");
    assert_eq!(
        harmful_fault(|t| t.answer = "Sure, this is what you need to do first.".into()),
        "unsafe-answered"
    );
}

#[test]
fn only_taught_orders_of_pivots_pass() {
    let [s, u, r] = Pivot::ALL;
    let with = |t: &mut Trajectory, order: &[Pivot]| {
        t.steps =
            order.iter().map(|&p| step("A step of a few plain words is here.", p)).collect::<Vec<Step>>();
    };
    for order in allowed_orders(Label::Safe) {
        assert_eq!(fault(|t| with(t, order)), "none", "{order:?}");
    }
    for order in allowed_orders(Label::Unsafe) {
        assert_eq!(harmful_fault(|t| with(t, order)), "none", "{order:?}");
    }
    for order in [&[s][..], &[s, r], &[r, r, s], &[s, s, s, s], &[r]] {
        assert_eq!(fault(|t| with(t, order)), "pivot-order", "{order:?}");
    }
    for order in [&[u][..], &[u, s], &[u, u, u], &[u, r], &[s, s, u]] {
        assert_eq!(harmful_fault(|t| with(t, order)), "pivot-order", "{order:?}");
    }
    assert_eq!(fault(|t| with(t, &[s; 5000])), "pivot-order");
    assert_eq!(fault(|t| t.answer_pivot = r), "answer-pivot");
}

#[test]
fn a_fault_says_where_what_and_what_to_do() {
    let mut t = safe("x", "Is this one all right?");
    t.steps[1].text = "see [here] for more words".into();
    let said = check(&t).unwrap_err().to_string();
    assert!(said.contains("step 2") && said.contains("[here]") && said.contains("hint:"), "{said}");
}
