//! The pieces of every form, and that nothing is learnt which the runtime does by itself.

use super::*;
use crate::trajectory::fixture::{harmful, safe, step};
use crate::trajectory::{Label, Step, Trajectory};

pub(super) fn sample(t: &Trajectory, form: Form, steps: &[Step]) -> Sample {
    Sample {
        id: t.id.clone(),
        label: t.label,
        system: Some("Be kind.".into()),
        prompt: t.prompt.clone(),
        form,
        steps: steps.to_vec(),
        answer: if form == Form::None { String::new() } else { "An answer.".into() },
        answer_pivot: Pivot::Safe,
        request_pivot: t.label.pivot(),
        wrapper: None,
    }
}

/// The text with what is learnt in «», behind the prompt.
fn shown(sample: &Sample, pivots: Pivots) -> String {
    let frame = Frame::chatml().unwrap();
    let pieces = frame.layout(sample, pivots);
    let shown = |p: &Piece<'_>| if p.learn.is_some() { format!("«{}»", p.text) } else { p.text.to_owned() };
    pieces.iter().filter(|p| p.role != Role::Prompt).map(shown).collect()
}

pub(super) fn steps() -> [Step; 2] {
    [step("Look.", Pivot::Rethink), step("Fine.", Pivot::Safe)]
}

#[test]
fn the_full_form_learns_all_that_stands_behind_the_prompt() {
    let s = sample(&safe("a", "Why?"), Form::Full, &steps());
    assert_eq!(
        shown(&s, Pivots::Written),
        "«<think>\n»«Look.»« [RETHINK]\n»«Fine.»« [SAFE]\n»«</think>\n»«An answer.»« [SAFE]»«<|im_end|>»"
    );
}

#[test]
fn the_brief_form_does_not_learn_to_stop_after_one_step() {
    let s = sample(&safe("a", "Why?"), Form::Brief, &steps()[1..]);
    assert_eq!(
        shown(&s, Pivots::Written),
        "<think>\n«Fine.»« [SAFE]\n»</think>\n«An answer.»« [SAFE]»«<|im_end|>»"
    );
}

#[test]
fn answers_without_steps_do_not_teach_to_skip_them() {
    let s = sample(&safe("a", "Why?"), Form::Direct, &[]);
    assert_eq!(shown(&s, Pivots::Written), "<think>\n</think>\n«An answer.»« [SAFE]»«<|im_end|>»");
    let s = sample(&harmful("a", "Why?"), Form::Direct, &[]);
    assert_eq!(shown(&s, Pivots::Written), "<think>\n [UNSAFE]\n</think>\n«An answer.»« [SAFE]»«<|im_end|>»");
}

#[test]
fn a_probe_is_the_last_piece_and_all_that_is_learnt() {
    for (label, t, pivot) in
        [(Label::Safe, safe("a", "Why?"), Pivot::Safe), (Label::Unsafe, harmful("a", "Why?"), Pivot::Unsafe)]
    {
        let frame = Frame::chatml().unwrap();
        let request = sample(&t, Form::None, &[]);
        let pieces = frame.layout(&request, Pivots::Written);
        let (last, before) = pieces.split_last().unwrap();
        assert_eq!((last.role, last.learn), (Role::Probe(pivot), Some(Part::Reasoning)), "{label}");
        assert!(before.iter().all(|p| p.role == Role::Prompt && p.learn.is_none()));
        assert_eq!(before.last().unwrap().text, "<|im_start|>assistant\n");
    }
    let s = Sample { answer_pivot: Pivot::Unsafe, ..sample(&harmful("a", "Why?"), Form::Probe, &[]) };
    assert_eq!(shown(&s, Pivots::Written), "<think>\n</think>\nAn answer.« [UNSAFE]\n»");
}

#[test]
fn without_pivots_steps_end_with_their_lines_and_probes_have_no_pieces() {
    let s = sample(&safe("a", "Why?"), Form::Full, &steps());
    assert_eq!(
        shown(&s, Pivots::LeftOut),
        "«<think>\n»«Look.»«\n»«Fine.»«\n»«</think>\n»«An answer.»«<|im_end|>»"
    );
    let s = sample(&harmful("a", "Why?"), Form::Direct, &[]);
    assert_eq!(shown(&s, Pivots::LeftOut), "<think>\n</think>\n«An answer.»«<|im_end|>»");
    for form in [Form::None, Form::Probe] {
        let s = sample(&safe("a", "Why?"), form, &[]);
        assert_eq!(Frame::chatml().unwrap().layout(&s, Pivots::LeftOut), []);
    }
}

#[test]
fn the_prompt_is_cut_around_its_slots_and_only_fixed_text_is_ours() {
    let frame = Frame::chatml().unwrap();
    let s = sample(&safe("a", "<|im_end|> typed"), Form::Full, &steps());
    let cuts: Vec<_> =
        frame.layout(&s, Pivots::Written).into_iter().take(7).map(|p| (p.text, p.trust)).collect();
    use Trust::{Ours, Outside};
    assert_eq!(
        cuts,
        [
            ("<|im_start|>system\n", Ours),
            ("Be kind.", Outside),
            ("<|im_end|>\n", Ours),
            ("<|im_start|>user\n", Ours),
            ("<|im_end|> typed", Outside),
            ("<|im_end|>\n", Ours),
            ("<|im_start|>assistant\n", Ours),
        ]
    );
    for piece in frame.layout(&s, Pivots::Written) {
        if matches!(piece.role, Role::Reasoning | Role::Answer) {
            assert_eq!(piece.trust, Outside);
        }
    }
    let without = Sample { system: None, ..s };
    assert_eq!(frame.layout(&without, Pivots::Written)[0].text, "<|im_start|>user\n");
}

#[test]
fn frames_that_cannot_work_are_refused() {
    let pivots = [" [SAFE]", " [UNSAFE]", " [RETHINK]"];
    for (system, user, pivots, part) in [
        ("", "<user>", pivots, "user part"),
        ("<system>", "<user>{text}<end>", pivots, "system part"),
        ("", "<user>{text}\n", pivots, "ends with its slot"),
        ("", "<user>{text}<end>", [" [SAFE]", " ", " [RETHINK]"], "empty pivot"),
    ] {
        let said = Frame::new(system, user, "<model>", pivots).unwrap_err().to_string();
        assert!(said.contains(part) && said.contains("hint:"), "{said}");
    }
    let llama = Frame::new("", "<u>\n\n{text}<|eot_id|>", "<a>\n\n", pivots).unwrap();
    let s = sample(&safe("a", "Why?"), Form::Full, &steps());
    let pieces = llama.layout(&s, Pivots::Written);
    assert_eq!(pieces[0].text, "<u>\n\n");
    assert_eq!(pieces.last().map(|p| (p.text, p.role)), Some(("<|eot_id|>", Role::End)));
}
