//! Runs that are broken off anywhere, taken up, and mixed up with others.

use super::super::tests::{SAFE, header, listed, prompts};
use super::super::{Prompts, Settings, Tally, run};
use super::*;

const SETTINGS: Settings = Settings { tries: 1, second_pass: true, limit: None };

fn three(folder: &Path) -> Prompts {
    prompts(folder, "How is one done?\nHow is two done?\nHow is three done?\n")
}

#[test]
fn a_run_torn_off_anywhere_goes_on_without_losing_or_repeating_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = three(folder.path());
    let (out, beside) = (folder.path().join("own.jsonl"), folder.path().join("own.teach.jsonl"));
    let mut journal = Journal::open(&out, &header()).unwrap();
    run(&mut listed(&[SAFE; 3]), &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
    drop(journal);
    let (whole_out, whole_journal) = (fs::read(&out).unwrap(), fs::read(&beside).unwrap());
    let lines = |text: &[u8]| text.iter().filter(|&&b| b == b'\n').count();
    // Every place around a line's end, and some of all others: each costs several waits for the disk.
    let is_near_end =
        |at: usize| whole_journal[at.saturating_sub(2)..whole_journal.len().min(at + 2)].contains(&b'\n');
    for at in (0..=whole_journal.len()).filter(|&at| at % 61 == 0 || is_near_end(at)) {
        fs::write(&beside, &whole_journal[..at]).unwrap();
        // The trajectories are written behind their entries: torn in the last line that may be there.
        let n_kept = lines(&whole_journal[..at]).saturating_sub(1);
        let ends = whole_out.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1);
        let end = ends.take(n_kept).last().unwrap_or(0);
        fs::write(&out, &whole_out[..end - end.min(at % 200)]).unwrap();
        let mut journal = Journal::open(&out, &header()).unwrap();
        assert_eq!(journal.entries().len(), n_kept, "at {at}");
        let mut teacher = listed(&vec![SAFE; 3 - n_kept]);
        run(&mut teacher, &prompts, &mut journal, SETTINGS, |_| ()).unwrap();
        assert!(teacher.replies.is_empty());
        assert_eq!(Tally::of(&prompts, &journal).kept, 3);
        drop(journal);
        assert!(
            fs::read(&out).unwrap() == whole_out && fs::read(&beside).unwrap() == whole_journal,
            "at {at}"
        );
    }
}

#[test]
fn other_runs_changed_files_and_second_writers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("own.jsonl");
    let open = |header: &Header| Journal::open(&out, header).map(|_| ()).map_err(|e| e.to_string());
    fs::write(&out, "somebody's\n").unwrap();
    assert!(open(&header()).unwrap_err().contains("not what the run has written"));
    assert_eq!(fs::read(&out).unwrap(), b"somebody's\n");
    fs::remove_file(&out).unwrap();

    let mut journal = Journal::open(&out, &header()).unwrap();
    run(&mut listed(&[SAFE; 3]), &three(folder.path()), &mut journal, SETTINGS, |_| ()).unwrap();
    assert!(open(&header()).unwrap_err().contains("another process"));
    drop(journal);
    assert_eq!(open(&header()), Ok(()));
    let other = open(&Header { teacher: "somebody else".into(), ..header() }).unwrap_err();
    assert!(other.contains("teacher (\"listed\" there") && other.contains("hint:"), "{other}");
    let prompts = open(&Header { prompts_sha256: "q".into(), ..header() }).unwrap_err();
    assert!(prompts.contains("prompts_sha256"), "{prompts}");

    let beside = folder.path().join("own.teach.jsonl");
    let text = fs::read_to_string(&beside).unwrap();
    fs::write(&beside, text.replacen("\"faults\"", "\"fault\"", 1)).unwrap();
    assert!(open(&header()).unwrap_err().contains("own.teach.jsonl:2: "));
    fs::write(&beside, text).unwrap();
    let changed = fs::read_to_string(&out).unwrap().replacen("oiled", "greased", 1);
    fs::write(&out, changed).unwrap();
    assert!(open(&header()).unwrap_err().contains("not what the run has written"));
}
