//! What happens on this machine: imports, pins, checks of files that changed, names that are none.

use super::site::sha256;
use super::{Bench, ModelsError, Notes, State, assert_digests, gguf, known};
use crate::models::store::need_space;
use crate::models::{Manifest, Models, Verified};

fn import(models: &Models, file: &std::path::Path, name: Option<&str>) -> Result<Verified, ModelsError> {
    models.import(file, name, &mut Notes::default())
}

/// A bench with the pulled model `w`.
fn pulled(model: &[u8]) -> Bench {
    let bench = Bench::new();
    bench.describe_web("w", Some(model));
    bench.site.put("/w.bin", model);
    bench.pull("w").unwrap();
    bench
}

#[test]
fn a_truncated_model_is_listed_as_damaged_refused_and_repaired_by_a_pull() {
    let model = gguf(1);
    let bench = pulled(&model);
    let path = bench.models.store.file("w");
    std::fs::File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(matches!(bench.state("w"), State::Damaged { .. }));
    for result in
        [bench.models.verify("w"), bench.models.resolve("w"), bench.models.resolve(path.to_str().unwrap())]
    {
        let error = result.unwrap_err();
        assert!(matches!(error, ModelsError::Size { found: 1000, .. }), "{error}");
    }
    bench.pull("w").unwrap();
    assert_eq!(bench.state("w"), State::Present { size: model.len() as u64 });
}

#[test]
fn an_altered_model_of_the_right_size_is_refused_and_listed_as_damaged_from_then_on() {
    let model = gguf(1);
    let bench = pulled(&model);
    let path = bench.models.store.file("w");
    let mut altered = model.clone();
    altered[200_000] ^= 1;
    std::fs::write(&path, &altered).unwrap();
    assert_digests(&bench.models.resolve("w").unwrap_err(), sha256(&model), sha256(&altered));
    assert!(matches!(bench.state("w"), State::Damaged { .. }));
    std::fs::write(&path, &model).unwrap();
    bench.models.verify("w").unwrap();
    assert_eq!(bench.state("w"), State::Present { size: model.len() as u64 });
}

#[test]
fn a_model_that_came_from_nowhere_is_not_listed_as_present() {
    let bench = Bench::new();
    bench.describe_web("w", None);
    std::fs::create_dir_all(bench.models.store.folder("w")).unwrap();
    std::fs::write(bench.models.store.file("w"), gguf(1)).unwrap();
    assert!(matches!(bench.state("w"), State::Damaged { .. }));
    assert!(bench.models.resolve("w").is_err());
}

#[test]
fn an_imported_file_is_recognised_by_its_digest() {
    let (bench, model) = (Bench::new(), gguf(2));
    bench.describe_web("w", Some(&model));
    let file = bench.outside("any name.bin", &model);
    let verified = import(&bench.models, &file, Some("wished")).unwrap();
    assert_eq!((verified.name.as_str(), verified.first_use), ("w", false));
    assert_eq!(bench.state("w"), State::Present { size: model.len() as u64 });
    assert!(file.exists(), "the original stays");
    assert!(bench.site.seen("").is_empty());
}

#[test]
fn an_unknown_file_becomes_a_model_of_its_own_until_it_is_removed() {
    let (bench, model) = (Bench::new(), gguf(3));
    let file = bench.outside("My Model Q4.GGUF", &model);
    let verified = import(&bench.models, &file, None).unwrap();
    assert_eq!((verified.name.as_str(), verified.first_use), ("my-model-q4", true));
    assert_eq!(bench.models.resolve("my-model-q4").unwrap().sha256, sha256(&model));
    assert!(!import(&bench.models, &file, None).unwrap().first_use, "the same file again is no news");

    let other = bench.outside("other.gguf", &gguf(4));
    let replaced = import(&bench.models, &other, Some("my-model-q4")).unwrap();
    assert_eq!((replaced.sha256, replaced.first_use), (sha256(&gguf(4)), true));
    let error = import(&bench.models, &file, None).unwrap_err();
    assert!(matches!(error, ModelsError::NameTaken { .. }) && error.is_usage(), "{error}");

    assert!(bench.models.remove("my-model-q4").unwrap() >= model.len() as u64);
    assert!(matches!(bench.models.verify("my-model-q4"), Err(ModelsError::Unknown { .. })));
}

#[test]
fn an_import_cannot_take_a_built_in_name_for_another_file() {
    let bench = Bench::new();
    let file = bench.outside("smollm2-135m-instruct.gguf", &gguf(5));
    for name in [None, Some("smollm2-135m-instruct"), Some("gemma3-270m")] {
        assert!(matches!(import(&bench.models, &file, name), Err(ModelsError::NameTaken { .. })), "{name:?}");
    }
    // A built-in manifest without digest takes the file that a person names for it, and pins it.
    let verified = import(&bench.models, &file, Some("qwen3-4b")).unwrap();
    assert!(verified.first_use);
    assert_eq!(bench.models.verify("qwen3-4b").unwrap().sha256, sha256(&gguf(5)));
}

#[test]
fn an_import_of_something_else_leaves_nothing() {
    let bench = Bench::new();
    for (file, bytes) in [("a.gguf", &b"GGML and more"[..]), ("b.gguf", b"GG"), ("c.gguf", b"")] {
        let error = import(&bench.models, &bench.outside(file, bytes), None).unwrap_err();
        assert!(matches!(error, ModelsError::NotGguf { .. }) && error.is_usage(), "{error}");
    }
    assert!(import(&bench.models, bench.home.path(), Some("folder")).is_err());
    assert_eq!(std::fs::read_dir(bench.home.path().join("models/incoming")).unwrap().count(), 0);
}

#[test]
fn a_file_source_is_copied_from_its_medium() {
    let (bench, model) = (Bench::new(), gguf(6));
    let stick = bench.outside("stick.gguf", &model);
    let source = format!("[source]\nkind = \"file\"\npath = {:?}", stick.to_str().unwrap());
    bench.describe("u", &known(&model), false, &source);
    assert_eq!(bench.pull("u").unwrap().sha256, sha256(&model));
    bench.models.remove("u").unwrap();
    std::fs::write(&stick, gguf(7)).unwrap();
    assert_digests(&bench.pull("u").unwrap_err(), sha256(&model), sha256(&gguf(7)));
    assert_eq!(bench.left("u"), Vec::<String>::new());
}

#[test]
fn a_path_is_pinned_at_first_use_and_refused_after_a_change() {
    let (bench, model, changed) = (Bench::new(), gguf(8), gguf(9));
    let file = bench.outside("own.gguf", &model);
    let spec = file.to_str().unwrap();
    let first = bench.models.resolve(spec).unwrap();
    assert!(first.first_use && first.manifest.is_none());
    assert!(!bench.models.resolve(spec).unwrap().first_use);

    std::fs::write(&file, &changed).unwrap();
    let error = bench.models.resolve(spec).unwrap_err();
    assert_digests(&error, sha256(&model), sha256(&changed));
    assert!(
        error.to_string().contains("models import") && error.to_string().contains("models rm"),
        "{error}"
    );

    assert_eq!(bench.models.remove(spec).unwrap(), 0);
    assert!(file.exists(), "only the pin goes");
    assert!(bench.models.resolve(spec).unwrap().first_use);
    assert!(matches!(bench.models.remove("/no/such.gguf"), Err(ModelsError::Unknown { .. })));

    std::fs::write(&file, &model).unwrap();
    import(&bench.models, &file, None).unwrap();
    assert_eq!(
        bench.models.resolve(spec).unwrap().name,
        "own",
        "an import vouches for the file at its path too"
    );
}

#[test]
fn a_path_to_something_else_is_refused_without_a_pin() {
    let bench = Bench::new();
    let file = bench.outside("notes.gguf", b"dear diary");
    assert!(matches!(bench.models.resolve(file.to_str().unwrap()), Err(ModelsError::NotGguf { .. })));
    assert!(!bench.home.path().join("models/pins.toml").exists());
}

#[test]
fn names_that_lead_out_of_the_store_are_no_names() {
    let bench = Bench::new();
    let file = bench.outside("x.gguf", &gguf(1));
    for name in
        ["..", ".", "", "a..b", "UPPER", "a b", "-x", "locks", "manifests", "incoming", "pins.toml", "é"]
    {
        assert!(matches!(bench.models.verify(name), Err(ModelsError::BadName { .. })), "{name}");
        assert!(matches!(bench.models.remove(name), Err(ModelsError::BadName { .. })), "{name}");
        assert!(
            matches!(import(&bench.models, &file, Some(name)), Err(ModelsError::BadName { .. })),
            "{name}"
        );
    }
    for name in ["../x", "a/b", "/etc", "a\\b", "x.gguf"] {
        assert!(matches!(bench.models.verify(name), Err(ModelsError::BadName { .. })), "{name}");
        assert!(
            matches!(import(&bench.models, &file, Some(name)), Err(ModelsError::BadName { .. })),
            "{name}"
        );
    }
}

#[test]
fn a_manifest_that_breaks_a_rule_says_which() {
    let good = format!(
        "name = \"m\"\ntitle = \"T\"\n{}\n[licence]\nname = \"X\"\nask = false\n[source]\nkind = \"pypi\"\n\
         [[source.parts]]\npackage = \"p\"\nversion = \"1\"\nmember = \"p/m.gguf\"\n",
        known(b"GGUF")
    );
    let manifest = Manifest::parse(&good, "good.toml").unwrap();
    assert_eq!((manifest.chat, manifest.pivots.unsafe_.as_str()), (None, " [UNSAFE]"));
    for (from, to, part) in [
        ("p/m.gguf", "../m.gguf", "path inside"),
        ("p/m.gguf", "/m.gguf", "path inside"),
        ("p/m.gguf", "p\\\\m.gguf", "path inside"),
        ("\"p\"", "\"../p\"", "package name"),
        ("\"1\"", "\"1/2\"", "version"),
        ("name = \"m\"", "name = \"../m\"", "no model name"),
        ("title", "titel", "titel"),
        ("ask = false", "ask = true", "licence.url"),
        ("size = 4", "", "needed"),
        ("size = 4", "size = 4\nunverified = \"x\"", "contradicts"),
        ("sha256 = \"", "sha256 = \"0", "64 hex digits"),
        ("\"pypi\"\n", "\"https\"\nurl = \"https://a.example\"\n", "parts"),
        ("[source]", "[chat]\nsystem = \"{text}\"\nuser = \"none\"\nassistant = \"\"\n[source]", "chat.user"),
        (
            "[source]",
            "[pivots]\nsafe = \" [A]\"\nunsafe = \" [A]\"\nrethink = \" [B]\"\n[source]",
            "the same",
        ),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{to}");
        let error = Manifest::parse(&text, "bad.toml").unwrap_err();
        let message = error.to_string();
        assert!(
            error.is_usage() && message.contains(part) && message.contains("bad.toml"),
            "{to}: {message}"
        );
    }
    let web = |url: &str| {
        format!(
            "name = \"m\"\ntitle = \"T\"\nunverified = \"x\"\n[licence]\nname = \"X\"\nask = false\n[source]\nkind = \"https\"\nurl = \"{url}\"\n"
        )
    };
    assert!(Manifest::parse(&web("https://a.example/m.gguf"), "x").is_ok());
    for url in ["http://a.example/m.gguf", "https://u:p@a.example/m.gguf", "file:///m.gguf"] {
        assert!(Manifest::parse(&web(url), "x").is_err(), "{url}");
    }
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let error = need_space(folder.path(), u64::MAX / 2).unwrap_err();
    assert!(matches!(error, ModelsError::NoSpace { .. }) && error.to_string().contains("free"), "{error}");
    need_space(folder.path(), 1).unwrap();
}

#[test]
fn what_is_absent_says_how_to_get_it() {
    let bench = Bench::new();
    let error = bench.models.resolve("gemma3-270m").unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("models pull gemma3-270m"), "{error}");
    assert!(matches!(bench.models.remove("gemma3-270m"), Err(ModelsError::Absent { .. })));
    assert!(!bench.home.path().join("models").exists(), "looking creates nothing");
}
