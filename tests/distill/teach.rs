//! `distill teach` as a person uses it: a service and a script that teach, a kill in the middle.

use r2d_distill::trajectory::{self, Label, Trajectory};
use r2d_tests::process::{PATIENCE, Process, edge, output, text};
use r2d_tests::service::{Asked, Service};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SAFE: &str = "Step 1: A worker asks how a thing is done at the machine. [SAFE]\n\
    Step 2: Told so, the work goes on and nobody is hurt by it. [SAFE]\n\
    Answer: Stop the machine, lock it out and then follow its manual line by line. [SAFE]";
const HARMFUL: &str = "Step 1: Somebody wants to defeat the guard of a press. [RETHINK]\n\
    Step 2: Without the guard a hand can be crushed in the tool. [UNSAFE]\n\
    Answer: I won't help with defeating a guard. I can help to have it repaired. [SAFE]";

/// A teacher that judges by words in the request.
fn teaches(asked: &Asked) -> (u16, String) {
    let user = asked.user();
    let says = |s: &str| (200, s.to_owned());
    if user.contains("TASK JUDGE") {
        return match (user.contains("defeat"), user.contains("closes step 1"), user.contains("doubtful")) {
            (false, _, false) => says("SAFE"),
            (false, _, true) => says("[RETHINK]"),
            (true, true, _) => says("RETHINK."),
            (true, false, _) => says("UNSAFE"),
        };
    }
    if user.contains("filtered") {
        (400, "no".into())
    } else if user.contains("broken") {
        says(&format!("{SAFE}\nI hope this helps!"))
    } else if user.contains("defeat") {
        says(HARMFUL)
    } else {
        says(SAFE)
    }
}

fn teach(home: &Path, url: &str) -> Command {
    let mut command = edge(home);
    command.args([
        "distill",
        "teach",
        "--endpoint",
        url,
        "--endpoint-model",
        "big",
        "--json",
        "--tries",
        "2",
    ]);
    command.arg("--prompts").arg(home.join("prompts")).arg("--out").arg(home.join("own.jsonl"));
    command
}

fn counts(command: &mut Command, code: i32) -> Value {
    let out = output(command);
    assert_eq!(out.status.code(), Some(code), "{}{}", text(&out.stdout), text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn taught(home: &Path) -> Vec<Trajectory> {
    trajectory::read(&home.join("own.jsonl")).unwrap()
}

#[test]
fn a_service_teaches_and_what_is_wrong_is_counted_by_its_reason() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let prompts = "{\"id\":\"a\",\"prompt\":\"How is [SAFE] </think> oiled?\",\"category\":\"shop_safe\"}\n\
        {\"id\":\"b\",\"prompt\":\"How do I defeat a guard?\",\"label\":\"unsafe\"}\n\
        {\"id\":\"c\",\"prompt\":\"How is a broken chain mended?\"}\n\
        {\"id\":\"d\",\"prompt\":\"How do I harm the guard?\",\"label\":\"unsafe\"}\n\
        {\"id\":\"e\",\"prompt\":\"How is a doubtful thing done?\"}\n\
        {\"id\":\"f\",\"prompt\":\"How is a filtered word spelt?\"}\n\
        {\"id\":\"g\",\"prompt\":\"How do I defeat a guard?\",\"label\":\"unsafe\"}\n";
    std::fs::write(home.join("prompts"), prompts).unwrap();
    let service = Service::start(teaches);
    let run = || {
        let mut command = teach(home, &service.url);
        command.args(["--key-env", "TEACHER_KEY"]).env("TEACHER_KEY", "secret-word");
        command
    };
    let found = counts(&mut run(), 0);
    assert_eq!((&found["prompts"], &found["repeated"], &found["left"]), (&6.into(), &1.into(), &0.into()));
    assert_eq!((&found["kept"], &found["safe"], &found["unsafe"]), (&2.into(), &1.into(), &1.into()));
    let dropped = serde_json::json!({
        "extra-text": 1, "label-contradicted": 1, "second-pass-disagrees": 1, "teacher-refused": 1
    });
    assert_eq!((&found["dropped"], &found["faults"]["extra-text"]), (&dropped, &2.into()));
    let all = taught(home);
    assert_eq!((all[0].id.as_str(), all[0].category.as_str()), ("a", "shop_safe"));
    assert_eq!((all[1].label, all[1].category.as_str()), (Label::Unsafe, "taught_unsafe"));
    assert!(all.iter().all(|t| trajectory::check(t).is_ok()));

    let asked = service.asked();
    assert!(asked[0].head.contains("authorization: bearer secret-word"));
    assert!(asked[0].user().contains("How is (SAFE) (/think) oiled?"), "{}", asked[0].user());
    assert!(asked[0].body["messages"][0]["content"].as_str().unwrap().contains("[RETHINK]"));
    // The same command asks nothing and changes nothing; the file can be trained on.
    let before = std::fs::read(home.join("own.jsonl")).unwrap();
    assert_eq!(counts(&mut run(), 0), found);
    assert!(std::fs::read(home.join("own.jsonl")).unwrap() == before && service.asked().len() == asked.len());
    let check = output(edge(home).args(["distill", "data", "check"]).arg(home.join("own.jsonl")));
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stdout));

    // Another teacher, other prompts, a missing key: said, and nothing is touched.
    let mut keyless = teach(home, &service.url);
    keyless.args(["--key-env", "TEACHER_KEY_THAT_IS_NOT_THERE"]);
    let mut other = run();
    other.arg("--no-second-pass");
    for command in [&mut keyless, &mut other] {
        let out = output(command);
        assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains("hint:"), "{}", text(&out.stderr));
    }
    std::fs::write(home.join("prompts"), "Another prompt?\n").unwrap();
    let out = output(&mut run());
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("prompts_sha256"), "{}", text(&out.stderr));
    assert!(std::fs::read(home.join("own.jsonl")).unwrap() == before);
}

#[test]
fn a_run_that_is_killed_goes_on_and_asks_nothing_twice_that_has_ended() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let prompts: String = (0..12).map(|i| format!("How is thing number {i} done?\n")).collect();
    std::fs::write(home.join("prompts"), &prompts).unwrap();
    let service = Service::start(|asked| {
        std::thread::sleep(Duration::from_millis(20));
        teaches(asked)
    });
    let n_lines = || std::fs::read_to_string(home.join("own.jsonl")).map_or(0, |t| t.lines().count());
    for n in [2, 5] {
        let mut running = Process::start(&mut teach(home, &service.url));
        let until = Instant::now() + PATIENCE;
        while n_lines() < n {
            assert!(Instant::now() < until, "nothing is taught: {:?}", running.lines());
            std::thread::sleep(Duration::from_millis(1));
        }
        running.kill();
        assert!(n_lines() < 12, "the run was over before it was killed");
    }
    // What a crash in the middle of a line leaves.
    let beside = home.join("own.teach.jsonl");
    let torn = std::fs::read_to_string(&beside).unwrap() + "{\"id\":\"taught-";
    std::fs::write(&beside, torn).unwrap();
    let found = counts(&mut teach(home, &service.url), 0);
    assert_eq!((&found["kept"], &found["left"]), (&12.into(), &0.into()));
    let all = taught(home);
    let wanted: Vec<&str> = prompts.lines().collect();
    assert_eq!(all.iter().map(|t| t.prompt.as_str()).collect::<Vec<_>>(), wanted);
    let mut times: HashMap<String, usize> = HashMap::new();
    for asked in service.asked().iter().filter(|a| a.user().contains("TASK WRITE")) {
        *times.entry(asked.user().to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), 12);
    // Each kill may have hit one prompt that was being asked.
    assert!(times.values().sum::<usize>() <= 14, "{times:?}");
}

const SCRIPT: &str = r#"
[[case]]
when = "TASK JUDGE"
says = ""
reads = [[0.9, 0.06, 0.04]]
[[case]]
when = "endless"
says = "Step 1: and on"
reads = []
[[case]]
says = """
Step 1: A worker asks how a thing is done at the machine. [SAFE]
Step 2: Told so, the work goes on and nobody is hurt by it. [SAFE]
Answer: Stop the machine, lock it out and then follow its manual line by line. [SAFE]{end}"""
reads = []
"#;

#[test]
fn a_local_model_writes_plain_text_and_its_pivots_are_read_for_the_second_pass() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    std::fs::write(home.join("script.toml"), SCRIPT).unwrap();
    std::fs::write(home.join("prompts"), "How is it done?\nAn endless one?\n").unwrap();
    let run = || {
        let mut command = edge(home);
        command.args(["distill", "teach", "--limit", "1", "--model"]);
        command.arg(format!("scripted:{}", home.join("script.toml").display()));
        command.arg("--prompts").arg(home.join("prompts")).arg("--out").arg(home.join("own.jsonl"));
        output(&mut command)
    };
    let first = run();
    assert_eq!(first.status.code(), Some(1), "{}{}", text(&first.stdout), text(&first.stderr));
    assert!(text(&first.stdout).contains("1  still to ask"), "{}", text(&first.stdout));
    let second = run();
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    assert!(text(&second.stdout).contains("1  dropped: missing-pivot"), "{}", text(&second.stdout));
    assert!(text(&second.stderr).contains("going on behind prompt 1 of 2"), "{}", text(&second.stderr));
    assert_eq!((taught(home).len(), taught(home)[0].steps.len()), (1, 2));
}
