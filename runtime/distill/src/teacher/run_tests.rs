//! A teacher that says what a list tells it to, on prompts and journals of the tests' own.

use super::*;
use crate::trajectory::{Label, read};
use std::collections::VecDeque;
use std::path::Path;

pub(super) const SAFE: &str = "Step 1: A worker asks how a chain is oiled at the hoist. [SAFE]\n\
    Step 2: An oiled chain runs safely and nobody is hurt by it. [SAFE]\n\
    Answer: Lock out the hoist, wipe the chain and brush oil on while it hangs slack. [SAFE]";
const HARMFUL: &str = "Step 1: Somebody wants to defeat the guard of a press. [RETHINK]\n\
    Step 2: Without the guard a hand can be crushed in the tool. [UNSAFE]\n\
    Answer: I won't help with defeating a guard. I can help to have it repaired. [SAFE]";

/// Replies in order, and what each prompt's steps are tagged with.
pub(super) struct Listed {
    pub(super) replies: VecDeque<Result<String, AskError>>,
    tags: VecDeque<Option<Pivot>>,
    asked: Vec<String>,
}

pub(super) fn listed(replies: &[&str]) -> Listed {
    Listed {
        replies: replies.iter().map(|r| Ok((*r).to_owned())).collect(),
        tags: VecDeque::new(),
        asked: Vec::new(),
    }
}

impl Teacher for Listed {
    fn write(&mut self, question: Question<'_>) -> Result<String, AskError> {
        assert!(question.system.contains("TASK WRITE"));
        self.asked.push(question.user.to_owned());
        self.replies.pop_front().unwrap_or_else(|| Err(AskError::Stop("nothing more is listed".into())))
    }

    fn tag(&mut self, question: Question<'_>) -> Result<Option<Pivot>, AskError> {
        assert!(question.user.contains("TASK JUDGE"));
        Ok(self.tags.pop_front().unwrap_or(Some(Pivot::Safe)))
    }
}

pub(super) fn prompts(folder: &Path, text: &str) -> Prompts {
    let path = folder.join("prompts");
    std::fs::write(&path, text).unwrap();
    Prompts::read(&path).unwrap()
}

pub(super) fn header() -> Header {
    Header {
        schema: TEACH_SCHEMA.into(),
        prompts_sha256: "p".into(),
        teacher: "listed".into(),
        context_sha256: "c".into(),
        second_pass: true,
        tries: 2,
    }
}

const SETTINGS: Settings = Settings { tries: 2, second_pass: true, limit: None };

/// One prompt with this label and what comes of it.
fn taught(label: Option<&str>, mut teacher: Listed) -> (Entry, Listed) {
    let folder = tempfile::tempdir().unwrap();
    let label = label.map_or_else(String::new, |l| format!(", \"label\": \"{l}\""));
    let prompts =
        prompts(folder.path(), &format!("{{\"id\": \"a\", \"prompt\": \"How is it [SAFE] done?\"{label}}}"));
    let mut journal = Journal::open(&folder.path().join("out.jsonl"), &header()).unwrap();
    run(&mut teacher, &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
    (journal.entries()[0].clone(), teacher)
}

fn reason(label: Option<&str>, replies: &[&str]) -> Option<String> {
    taught(label, listed(replies)).0.dropped
}

#[test]
fn a_good_reply_becomes_a_trajectory() {
    let (entry, teacher) = taught(None, listed(&[SAFE]));
    let t = entry.kept.unwrap();
    assert_eq!((t.id.as_str(), t.label, t.category.as_str()), ("a", Label::Safe, "taught_safe"));
    assert_eq!((t.steps.len(), t.split.is_some()), (2, true));
    assert_eq!(t.prompt, "How is it [SAFE] done?", "the prompt is kept as it came");
    assert!(
        teacher.asked[0].contains("How is it (SAFE) done?"),
        "and asked neutralised: {}",
        teacher.asked[0]
    );
    let mut teacher = listed(&[HARMFUL]);
    teacher.tags = [Some(Pivot::Rethink), Some(Pivot::Unsafe)].into();
    assert_eq!(taught(Some("unsafe"), teacher).0.kept.unwrap().label, Label::Unsafe);
}

#[test]
fn what_is_malformed_is_asked_again_so_often_and_named() {
    let (entry, teacher) = taught(None, listed(&["nonsense", SAFE]));
    assert!(entry.kept.is_some() && entry.faults == ["extra-text"]);
    assert!(teacher.asked[1].contains("(extra-text)") && !teacher.asked[0].contains("could not be used"));
    let (entry, teacher) = taught(None, listed(&["nonsense", "", SAFE]));
    assert_eq!((entry.dropped.as_deref(), teacher.asked.len()), (Some("reply-empty"), 2));
}

#[test]
fn a_reply_that_contradicts_itself_or_its_label_is_dropped_under_its_own_name() {
    let refused = SAFE.replace("Lock out the hoist", "I can't help with that hoist");
    let helped = HARMFUL.replace("I won't help with defeating a guard.", "Sure, take the cover off first.");
    let neither =
        HARMFUL.replace("I won't help with defeating a guard.", "The cover has four screws under it.");
    let order = SAFE.replacen("[SAFE]", "[UNSAFE]", 1);
    let open = SAFE.replace("slack. [SAFE]", "slack. [RETHINK]");
    for (reply, name) in [
        (&refused, "safe-refused"),
        (&helped, "unsafe-answered"),
        (&neither, "unsafe-not-refused"),
        (&order, "safe-with-unsafe-step"),
        (&open, "answer-pivot"),
        (&SAFE.replace("A worker asks how a chain is oiled at the hoist.", "Oil."), "too-short"),
    ] {
        assert_eq!(reason(None, &[reply, reply]).as_deref(), Some(name));
    }
    let (entry, teacher) = taught(Some("unsafe"), listed(&[SAFE, HARMFUL]));
    assert_eq!((entry.dropped.as_deref(), teacher.asked.len()), (Some("label-contradicted"), 1));
}

#[test]
fn the_second_pass_has_to_agree() {
    for (tag, name) in [(Some(Pivot::Rethink), "second-pass-disagrees"), (None, "second-pass-unreadable")] {
        let mut teacher = listed(&[SAFE, SAFE]);
        teacher.tags = [Some(Pivot::Safe), tag].into();
        let (entry, teacher) = taught(None, teacher);
        assert_eq!((entry.dropped.as_deref(), teacher.asked.len()), (Some(name), 1));
    }
}

#[test]
fn a_teacher_that_refuses_everything_stops_the_run_and_one_prompt_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let text: String = (0..10).map(|i| format!("How is number {i} done?\n")).collect();
    let prompts = prompts(folder.path(), &text);
    let mut journal = Journal::open(&folder.path().join("out.jsonl"), &header()).unwrap();
    let refusal = || Err(AskError::Prompt("400".into()));
    let mut teacher = listed(&[]);
    teacher.replies = (0..10).map(|_| refusal()).collect();
    let stopped = run(&mut teacher, &prompts, &mut journal, SETTINGS, |_| ()).unwrap_err().to_string();
    assert!(stopped.contains("8 prompts") && journal.entries().is_empty(), "{stopped}");

    let mut teacher = listed(&[SAFE; 8]);
    teacher.replies.insert(0, refusal());
    teacher.replies.insert(4, refusal());
    run(&mut teacher, &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
    let tally = Tally::of(&prompts, &journal);
    assert_eq!((tally.kept, tally.left, tally.dropped.get("teacher-refused")), (8, 0, Some(&2)));
    assert_eq!(read(&folder.path().join("out.jsonl")).unwrap().len(), 8);
}

#[test]
fn a_few_refusals_are_final_only_where_the_teacher_replied_to_something() {
    let folder = tempfile::tempdir().unwrap();
    // The first is dropped unasked, which is no reply.
    let prompts = prompts(folder.path(), "Hm\nHow is number 1 done?\nHow is number 2 done?\n");
    let mut journal = Journal::open(&folder.path().join("out.jsonl"), &header()).unwrap();
    let refusing = |n: usize| {
        let mut teacher = listed(&[]);
        teacher.replies = (0..n).map(|i| Err(AskError::Prompt(format!("code {i}")))).collect();
        teacher
    };
    let stopped = run(&mut refusing(2), &prompts, &mut journal, SETTINGS, |_| ()).unwrap_err().to_string();
    assert!(stopped.contains("all of the 2 prompts") && stopped.contains("code 1"), "{stopped}");
    assert!(stopped.contains("hint:"), "{stopped}");
    assert_eq!((journal.entries().len(), Tally::of(&prompts, &journal).left), (1, 2));
    // One reply, of an earlier run too, shows that it can be asked.
    let one = Settings { limit: Some(1), ..SETTINGS };
    run(&mut listed(&[SAFE]), &prompts, &mut journal, one, |_| ()).unwrap();
    run(&mut refusing(1), &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
    let tally = Tally::of(&prompts, &journal);
    assert_eq!((tally.kept, tally.left, tally.dropped.get("teacher-refused")), (1, 0, Some(&1)));
}

#[test]
fn a_persons_answer_stands_in_place_of_the_teachers() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"id\": \"a\", \"prompt\": \"Oil the chain?\", \"label\": \"safe\", \"answer\": \"Yes, every second Monday morning.\"}\n";
    let prompts = prompts(folder.path(), &format!("{line}{}", "{\"prompt\": \"Hm\"}"));
    let mut journal = Journal::open(&folder.path().join("out.jsonl"), &header()).unwrap();
    run(&mut listed(&[SAFE]), &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
    assert_eq!(journal.entries()[0].kept.as_ref().unwrap().answer, "Yes, every second Monday morning.");
    assert_eq!(journal.entries()[1].dropped.as_deref(), Some("prompt-too-short"), "and nobody was asked");
}
