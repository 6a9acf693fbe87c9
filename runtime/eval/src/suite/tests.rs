//! Suites read from small files written here; no third-party data.

use super::*;
use crate::item::{Expected, Kind, Label};
use std::collections::BTreeSet;
use tempfile::TempDir;

/// A folder with a manifest `own.toml` and files beside it.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(manifest: &str, files: &[(&str, &[u8])]) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.put("own.toml", manifest.as_bytes());
        for (name, bytes) in files {
            site.put(name, bytes);
        }
        site
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn open(&self) -> Result<Suite, SuiteError> {
        Suite::open(self.folder.path().join("own.toml").to_str().unwrap(), None)
    }

    fn error(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

fn manifest(kind: &str, file: &str, rest: &str) -> String {
    format!(
        "name = \"own\"\ntitle = \"Our own\"\nkind = \"{kind}\"\nfile = \"{file}\"\n\
         source = {{ origin = \"here\", licence = \"MIT\", ours = true }}\n{rest}"
    )
}

fn csv(kind: &str, rest: &str, data: &[u8]) -> Site {
    Site::new(&manifest(kind, "d.csv", rest), &[("d.csv", data)])
}

const CONTRAST: &str = "columns = { prompt = \"ask\", id = \"n\", label = \"l\", group = \"p\" }\n\
                        labels = { safe = [\"ok\"], unsafe = [\"bad\", \"worse\"] }";

#[test]
fn every_built_in_manifest_can_be_read_and_says_where_its_data_comes_from() {
    let names: BTreeSet<&str> = builtin().iter().map(|b| b.name.as_str()).collect();
    assert_eq!((builtin().len(), names.len()), (18, 18));
    for suite in builtin() {
        let Source { origin, licence, ours, .. } = &suite.source;
        assert!(!origin.is_empty() && !licence.is_empty());
        assert_eq!(*ours, suite.name == "shopfloor");
        let presence = suite.presence(None);
        assert_eq!(presence, if *ours { Presence::Inside } else { Presence::NoFolder });
        if let Some(OverlapWith { suite, .. }) = &suite.overlap {
            assert!(names.contains(suite.as_str()));
        }
    }
}

#[test]
fn our_own_suite_needs_no_data_folder_and_is_made_of_pairs() {
    let suite = Suite::open("shopfloor", None).unwrap();
    assert_eq!((suite.items.len(), suite.n_skipped, suite.warnings.len()), (120, 0, 0));
    let count = |label| suite.items.iter().filter(|i| i.label == Some(label)).count();
    assert_eq!((count(Label::Safe), count(Label::Unsafe)), (60, 60));
    let groups: BTreeSet<_> = suite.items.iter().map(|i| i.group.clone().unwrap()).collect();
    assert_eq!(groups.len(), 60);
    let info = suite.info(20);
    assert_eq!((info.n_items, info.n_available, info.sha256.len()), (20, 120, 64));
    assert_eq!(suite.sample(Some(20), 1).len(), 20);
}

#[test]
fn a_suite_without_its_data_says_where_to_get_it() {
    let error = Suite::open("xstest", None).unwrap_err().to_string();
    assert!(
        error.contains("no data folder") && error.contains("--data") && error.contains("CC BY 4.0"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let error = Suite::open("xstest", Some(folder.path())).unwrap_err().to_string();
    assert!(error.contains("xstest_dev.csv") && error.contains("paul-rottger"), "{error}");
    let missing = builtin().iter().find(|b| b.name == "xstest").unwrap().presence(Some(folder.path()));
    assert!(matches!(&missing, Presence::Missing(places) if places.len() == 3), "{missing}");
}

#[test]
fn an_unknown_suite_gives_the_nearest_names() {
    let error = Suite::open("xtest", None).unwrap_err().to_string();
    assert!(error.contains("did you mean xstest?"), "{error}");
    let error = Suite::open("no/such/file.toml", None).unwrap_err().to_string();
    assert!(error.contains("path of its manifest"), "{error}");
}

#[test]
fn csv_may_have_a_byte_order_mark_line_breaks_in_quotes_and_windows_line_ends() {
    let data = b"\xef\xbb\xbfn,ask,l,p\r\n1,\"first line\nsecond \"\"line\"\"\",ok,a\r\n2,short,worse,a\r\n";
    let suite = csv("contrast", CONTRAST, data).open().unwrap();
    assert_eq!(suite.items[0].prompt, "first line\nsecond \"line\"");
    assert_eq!(suite.items[0].label, Some(Label::Safe));
    assert_eq!((suite.items[1].id.as_str(), suite.items[1].label), ("2", Some(Label::Unsafe)));
    assert_eq!(suite.items[1].group.as_deref(), Some("a"));
}

#[test]
fn the_same_files_give_the_same_hash_and_any_change_another() {
    let site = csv("harmful", "columns = { prompt = \"ask\" }", b"ask\none\n");
    let first = site.open().unwrap().sha256;
    assert_eq!(site.open().unwrap().sha256, first);
    site.put("d.csv", b"ask\ntwo\n");
    let second = site.open().unwrap().sha256;
    site.put("own.toml", manifest("benign", "d.csv", "columns = { prompt = \"ask\" }").as_bytes());
    let third = site.open().unwrap().sha256;
    assert_eq!(BTreeSet::from([first, second, third]).len(), 3);
}

#[test]
fn rows_without_a_prompt_filtered_rows_and_repeated_ones_are_counted() {
    let rest = "unique = true\ncolumns = { prompt = \"q\" }\nwhere = [{ column = \"t\", equals = [\"a\", \"b\"] }, \
                { column = \"u\", not = \"x\" }]";
    let data = br#"{"q": "one", "t": "a", "u": 1}
{"q": null, "t": "a", "u": 2}
{"q": " ", "t": "b", "u": null}

{"q": "two", "t": "c", "u": 3}
{"q": "two", "t": "b", "u": "x"}
{"q": "one", "t": "b", "u": true}
"#;
    let suite = Site::new(&manifest("harmful", "d.jsonl", rest), &[("d.jsonl", data)]).open().unwrap();
    assert_eq!((suite.items.len(), suite.n_skipped), (1, 5));
    assert_eq!(suite.items[0].id, "1");
    let told = suite.warnings.join("\n");
    for words in ["2 of 6 rows have no prompt", "2 of 6 rows are left out", "1 of 6 rows repeat"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn several_files_are_told_apart_by_their_names() {
    let manifest = "name = \"own\"\ntitle = \"t\"\nkind = \"harmful\"\nrecords = \"/data/rows\"\n\
                    file = [\"A__one.json\", \"A__two.json\"]\nsource = { origin = \"o\", licence = \"l\" }\n\
                    [columns]\nid = \"{i}@{@file}\"\nprompt = \"p\"\ncategory = \"{@file}\"\ncontext = \"c\"\n";
    let data = br#"{"data": {"rows": [{"i": 7, "p": "ask", "c": "given"}, {"i": 8, "p": "ask", "c": ""}]}}"#;
    let site = Site::new(manifest, &[("A__one.json", data), ("A__two.json", data)]);
    let suite = site.open().unwrap();
    let ids: Vec<&str> = suite.items.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["7@one", "8@one", "7@two", "8@two"]);
    assert_eq!(suite.items[2].category.as_deref(), Some("two"));
    assert_eq!((suite.items[0].prompt.as_str(), suite.items[1].prompt.as_str()), ("given\n\nask", "ask"));
    std::fs::remove_file(site.folder.path().join("A__two.json")).unwrap();
    assert!(site.error().contains("A__two.json"));
}

#[test]
fn a_sites_file_is_looked_for_beside_its_manifest_and_then_in_the_data_folder() {
    let site = Site::new(&manifest("benign", "sub/d.csv", "columns = { prompt = \"ask\" }"), &[]);
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("sub")).unwrap();
    std::fs::write(data.path().join("sub/d.csv"), "ask\nfar\n").unwrap();
    let path = site.folder.path().join("own.toml");
    let open = || Suite::open(path.to_str().unwrap(), Some(data.path())).unwrap().items[0].prompt.clone();
    assert_eq!(open(), "far");
    site.put("sub/d.csv", b"ask\nnear\n");
    assert_eq!(open(), "near");
}

#[test]
fn choices_come_from_columns_arrays_marks_or_are_fixed() {
    let choice = |kind: &str, file: &str, columns: &str, choice: &str, data: &[u8]| {
        let rest = format!("columns = {{ {columns}, answer = \"a\" }}\n[choice]\n{choice}\n");
        let suite = Site::new(&manifest(kind, file, &rest), &[(file, data)]).open().unwrap();
        let item = suite.items[0].clone();
        match item.expected {
            Some(Expected::Choice { choices, correct }) => (item.prompt, choices, correct),
            other => panic!("{other:?}"),
        }
    };
    let (prompt, choices, correct) = choice(
        "choice",
        "d.csv",
        "prompt = \"q\"",
        "columns = [\"x\", \"y\", \"z\"]\nanswer_by = \"letter\"",
        b"q,x,y,z,a\nWhich?,this,that,,B\n",
    );
    assert_eq!((prompt.as_str(), correct), ("Question: Which?\nAnswer:", 1));
    assert_eq!(choices, [" this", " that"]);
    let (_, choices, correct) = choice(
        "choice",
        "d.json",
        "prompt = \"/q/stem\"",
        "column = \"/q/choices\"\nanswer_by = \"text\"",
        br#"[{"q": {"stem": "Which?", "choices": [{"text": "this"}, {"text": "that"}, "those"]}, "a": "those"}]"#,
    );
    assert_eq!((choices.len(), correct), (3, 2));
    let (prompt, choices, correct) = choice(
        "choice",
        "d.jsonl",
        "prompt = \"q\"",
        "mark = '(?:^|\\s)Option ?\\d+:'\nend = '\\s+Reply'\nquestion = '(?s)asked: (.*?)\\s*Option ?1:'\n\
         template = \"{question}\"\ncontinuation = \"\\n{choice}\"\nanswer_by = \"number\"\n\
         answer_pattern = '^option(\\d+)$'",
        br#"{"q": "It is asked: Which {choice}?\n\nOption1: this. Option2: that Option 3: {question}\n\nReply with Option4: x", "a": "option3"}"#,
    );
    assert_eq!((prompt.as_str(), correct), ("Which {choice}?", 2));
    assert_eq!(choices, ["\nthis.", "\nthat", "\n{question}"]);
    let (_, choices, correct) = choice(
        "choice",
        "d.csv",
        "prompt = \"q\"",
        "fixed = [\"no\", \"yes\"]\nanswer_by = \"value\"\nvalues = [\"false\", \"true\"]",
        b"q,a\nIs it?,true\n",
    );
    assert_eq!((choices, correct), (vec![" no".to_owned(), " yes".to_owned()], 1));
}

#[test]
fn an_answer_that_names_no_choice_is_an_error_with_its_row() {
    let rest = |by: &str| {
        format!(
            "columns = {{ prompt = \"q\", answer = \"a\" }}\nchoice = {{ columns = [\"x\", \"y\"], {by} }}"
        )
    };
    for (by, data) in [
        ("answer_by = \"letter\"", "q,x,y,a\nok?,1,2,A\nWhich?,1,2,C\n"),
        ("answer_by = \"number\"", "q,x,y,a\nok?,1,2,1\nWhich?,1,2,0\n"),
        ("answer_by = \"index\"", "q,x,y,a\nok?,1,2,1\nWhich?,1,2,-1\n"),
        ("answer_by = \"text\"", "q,x,y,a\nok?,1,2,1\nWhich?,3,3,3\n"),
        ("answer_pattern = 'is (.)$'", "q,x,y,a\nok?,1,2,it is 2\nWhich?,1,2,it was 2\n"),
    ] {
        let error = csv("choice", &rest(by), data.as_bytes()).error();
        assert!(error.contains("row 2") && error.contains("hint:"), "{error}");
    }
}

#[test]
fn the_right_answer_and_the_given_one_are_found_by_patterns() {
    let rest = "columns = { prompt = \"q\", answer = \"a\" }\nexact = { right = '####\\s*(.+)' }";
    let suite = csv("qa-exact", rest, b"q,a\nHow many?,\"so 2+2=4\n#### 1,400\"\n").open().unwrap();
    assert_eq!(suite.items[0].expected, Some(Expected::Exact { text: "1400".into() }));
    assert_eq!(suite.manifest.kind, Kind::QaExact);
    assert_eq!(suite.manifest.extract_answer("The answer is $1,400.").as_deref(), Some("1400"));
    let given = "columns = { prompt = \"q\", answer = \"a\" }\nexact = { given = 'pick (\\w+)' }";
    let suite = csv("qa-exact", given, b"q,a\nWhich?,red\n").open().unwrap();
    assert_eq!(suite.manifest.extract_answer("I pick blue, no, I pick red.").as_deref(), Some("red"));
    assert_eq!(suite.manifest.extract_answer("I take red."), None);
    assert!(csv("qa-exact", rest, b"q,a\nHow many?,four\n").error().contains("no right answer"));
}

#[test]
fn goals_that_stand_in_the_other_suite_are_marked_and_a_missing_one_is_a_warning() {
    let other = "name = \"other\"\ntitle = \"t\"\nkind = \"harmful\"\nfile = \"o.csv\"\n\
                 source = { origin = \"o\", licence = \"l\" }\ncolumns = { prompt = \"goal\" }";
    let rest = "columns = { prompt = \"ask\", goal = \"g\" }\noverlap = { suite = \"other.toml\", column = \"goal\" }";
    let data = b"ask,g\nwrapped 1,Paint the Shed green!\nwrapped 2,something else\n";
    let site = csv("harmful", rest, data);
    let suite = site.open().unwrap();
    assert!(suite.warnings[0].contains("overlap is not known"), "{:?}", suite.warnings);
    assert!(suite.items.iter().all(|i| i.overlap == Overlap::None));
    site.put("other.toml", other.as_bytes());
    site.put("o.csv", b"goal\npaint the shed green\n");
    let suite = site.open().unwrap();
    assert_eq!((suite.items[0].overlap, suite.items[1].overlap), (Overlap::Exact, Overlap::None));
    assert!(suite.warnings.is_empty());
}

#[test]
fn a_manifest_that_cannot_be_names_key_value_and_what_could_be() {
    let columns = "columns = { prompt = \"ask\" }";
    for (kind, rest, words) in [
        ("harmful", "columns = { prompt = \"ask\" }\ncolour = 1", "colour"),
        ("harmfull", columns, "harmfull"),
        ("harmful", "columns = { prompt = \" \" }", "columns.prompt"),
        ("harmful", "columns = { prompt = \"ask\", label = \"l\" }", "take columns.label out"),
        ("contrast", columns, "needs [labels]"),
        ("choice", columns, "needs [choice]"),
        ("qa-exact", columns, "needs columns.answer"),
        ("benign", "columns = { prompt = \"ask\" }\nexact = {}", "take [exact] out"),
        ("benign", "columns = { prompt = \"ask\" }\nrecords = \"rows\"", "records"),
        ("benign", "columns = { prompt = \"ask\" }\nfile_or = [1]", "file_or"),
        ("benign", "columns = { prompt = \"ask\" }\nwhere = [{ column = \"x\" }]", "equals or not"),
    ] {
        let error = csv(kind, rest, b"ask\nx\n").error();
        assert!(error.contains("own.toml") && error.contains(words), "{words}: {error}");
    }
    let choice = |text: &str| {
        let rest = format!("columns = {{ prompt = \"ask\", answer = \"a\" }}\nchoice = {{ {text} }}");
        csv("choice", &rest, b"ask,a\nx,y\n").error()
    };
    for (text, words) in [
        ("", "exactly one of"),
        ("fixed = [\"a\", \"b\"], column = \"x\"", "exactly one of"),
        ("fixed = [\"a\"]", "at least two"),
        ("fixed = [\"a\", \"b\"], template = \"none\"", "{question}"),
        ("fixed = [\"a\", \"b\"], continuation = \"none\"", "{choice}"),
        ("fixed = [\"a\", \"b\"], question = \"(\"", "choice.question"),
        ("fixed = [\"a\", \"b\"], question = \"x\"", "put (…) around"),
        ("fixed = [\"a\", \"b\"], answer_by = \"value\"", "choice.values"),
        ("fixed = [\"a\", \"b\"], end = \"x\"", "choice.mark"),
    ] {
        let error = choice(text);
        assert!(error.contains(words) && error.contains("hint:"), "{words}: {error}");
    }
    for name in ["", "Big", "a b", "all", "replay", "xstest", &"x".repeat(65)] {
        let site = csv("benign", columns, b"ask\nx\n");
        site.put(
            "own.toml",
            manifest("benign", "d.csv", columns).replace("\"own\"", &format!("{name:?}")).as_bytes(),
        );
        assert!(site.error().contains("name ="), "{name}");
    }
}

#[test]
fn data_that_is_not_of_its_format_is_refused_with_its_place() {
    let columns = "columns = { prompt = \"ask\" }";
    for (file, data, words) in [
        ("d.json", &b"[{\"ask\": \"one\"}, {\"as"[..], "no json"),
        ("d.json", b"{\"ask\": \"one\"}", "is no array"),
        ("d.json", b"[{\"ask\": \"one\"}, 7]", "row 2 is no object"),
        ("d.json", b"[{\"ask\": [1, 2]}]", "is no text"),
        ("d.json", b"[{\"question\": \"one\"}]", "no column \"ask\"; hint: it has question"),
        ("d.jsonl", b"{\"ask\": \"one\"}\n{\"ask\"", "line 2"),
        ("d.jsonl", b"{\"ask\": \"one\"}\n\"two\"", "line 2"),
        ("d.csv", b"question\none\n", "no column \"ask\"; hint: it has question"),
        ("d.csv", b"ask,b\none\n", "d.csv"),
        ("d.csv", b"ask,ask\none,two\n", "two columns"),
        ("d.csv", b"ask\n\xff\xfe\n", "no UTF-8 text from byte 4"),
        ("d.csv", b"", "has no items"),
        ("d.csv", b"ask\n", "has no items"),
        ("d.csv", b"ask,b\n,1\n", "1 rows were passed over"),
        ("d.txt", b"ask\none\n", "set format"),
    ] {
        let error = Site::new(&manifest("benign", file, columns), &[(file, data)]).error();
        assert!(error.contains(words), "{file}, {words}: {error}");
    }
    let site = csv("benign", columns, b"");
    site.put("own.toml", b"\xff\xfe");
    assert!(site.error().contains("no UTF-8"));
}

#[test]
fn deeply_nested_json_is_refused_and_does_not_overflow_the_stack() {
    let deep = "[".repeat(200_000);
    let site = Site::new(
        &manifest("benign", "d.json", "columns = { prompt = \"ask\" }"),
        &[("d.json", deep.as_bytes())],
    );
    assert!(site.error().contains("no json"));
}

#[test]
fn a_label_that_means_nothing_and_an_id_that_stands_twice_are_errors() {
    let error = csv("contrast", CONTRAST, b"n,ask,l,p\n1,a,ok,x\n2,b,maybe,x\n").error();
    assert!(error.contains("row 2") && error.contains("maybe") && error.contains("labels.safe"), "{error}");
    let error = csv("contrast", CONTRAST, b"n,ask,l,p\n1,a,ok,x\n1,b,bad,x\n").error();
    assert!(error.contains("row 2") && error.contains("\"1\"") && error.contains("hint:"), "{error}");
    let error = csv("contrast", CONTRAST, b"n,ask,l,p\n,a,ok,x\n").error();
    assert!(error.contains("row 1") && error.contains("is no id"), "{error}");
}

#[test]
fn absurd_sizes_are_refused() {
    let columns = "columns = { prompt = \"ask\" }";
    let long = format!("ask\nshort\n{}\n", "x".repeat(MAX_PROMPT_BYTES + 1));
    let error = csv("benign", columns, long.as_bytes()).error();
    assert!(error.contains("row 2") && error.contains("65537 bytes") && error.len() < 600, "{error}");
    let site = csv("benign", columns, b"");
    // A file of nothing but a length: it takes no room on the disk.
    let file = std::fs::File::create(site.folder.path().join("d.csv")).unwrap();
    file.set_len(MAX_BYTES + 1).unwrap();
    let error = site.error();
    assert!(error.contains("268435457 bytes") && error.contains("hint:"), "{error}");
    let site = csv("benign", columns, b"ask\nx\n");
    site.put("own.toml", "#".repeat(usize::try_from(MAX_MANIFEST_BYTES).unwrap() + 1).as_bytes());
    assert!(site.error().contains("own.toml has"));
}
