//! Pulls: from an index and from the web, with a server that behaves and with one that does not.

use super::site::{sha256, wheel};
use super::{Bench, ModelsError, Notes, State, assert_digests, gguf, known};

const SOURCE: &str = "[source]\nkind = \"pypi\"\n[[source.parts]]\npackage = \"Data.Pkg\"\nversion = \"1.0\"\nmember = \"pkg/m.gguf\"";
const FILE: &str = "data_pkg-1.0-py3-none-any.whl";

/// A bench whose index offers `model` in one wheel, which its manifest describes.
fn one_wheel(model: &[u8]) -> (Bench, Vec<u8>) {
    let bench = Bench::new();
    let wheel = wheel(&[("pkg/__init__.py", b"x"), ("pkg/m.gguf", model), ("../../../evil", b"out")]);
    bench.site.offer("data-pkg", FILE, &wheel, sha256(&wheel));
    bench.describe("m", &known(model), false, SOURCE);
    (bench, wheel)
}

#[test]
fn whole_wheel_becomes_a_model_and_nothing_else_is_left() {
    let model = gguf(1);
    let (bench, _) = one_wheel(&model);
    assert_eq!(bench.state("m"), State::Absent);
    let verified = bench.pull("m").unwrap();
    assert_eq!(std::fs::read(&verified.path).unwrap(), model);
    assert_eq!((verified.sha256, verified.first_use), (sha256(&model), false));
    assert_eq!(bench.left("m"), ["model.gguf", "model.toml"]);
    assert_eq!(bench.state("m"), State::Present { size: model.len() as u64 });
    assert!(!bench.home.path().join("evil").exists() && !bench.home.path().join("models/evil").exists());
    let requests = bench.site.seen("").len();
    bench.pull("m").unwrap();
    assert_eq!(bench.site.seen("").len(), requests, "an intact model is not fetched again");
    assert_eq!(bench.models.resolve(verified.path.to_str().unwrap()).unwrap().name, "m");
}

#[test]
fn credentials_of_the_index_reach_it_and_no_message() {
    let (bench, _) = one_wheel(&gguf(1));
    bench.site.with(|content| content.refusals = vec![403]);
    let error = bench.pull("m").unwrap_err();
    assert!(matches!(error, ModelsError::Status { status: 403, .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    assert_eq!(bench.site.seen("/simple/")[0].headers["authorization"], "Basic dXNlcjpzM2NyZXQ=");
}

/// Offers a model in two wheels and a notice in a third.
fn split(bench: &Bench, model: &[u8]) {
    let (head, tail) = model.split_at(model.len() / 3);
    let mut source = "[source]\nkind = \"pypi\"\nnotice = { package = \"main\", version = \"2\", member = \"main/NOTICE\" }\n".to_owned();
    for (package, member, bytes) in [("a", "a/m.part0", head), ("b", "b/m.part1", tail)] {
        let wheel = wheel(&[(member, bytes)]);
        bench.site.offer(package, &format!("{package}-2-py3-none-any.whl"), &wheel, sha256(&wheel));
        source += &format!(
            "[[source.parts]]\npackage = \"{package}\"\nversion = \"2\"\nmember = \"{member}\"\nsha256 = \"{}\"\n",
            sha256(&wheel)
        );
    }
    let notice = wheel(&[("main/NOTICE", b"be kind\x1b[2J")]);
    bench.site.offer("main", "main-2-py3-none-any.whl", &notice, sha256(&notice));
    bench.describe("s", &known(model), true, &source);
}

#[test]
fn split_wheels_of_an_html_index_are_joined_in_order_after_consent() {
    let (bench, model) = (Bench::new(), gguf(2));
    split(&bench, &model);
    bench.site.with(|content| content.html = true);
    let mut asked = Vec::new();
    let mut consent = |licence: &crate::models::Licence, notice: Option<&str>| {
        asked.push((licence.name.clone(), notice.map(str::to_owned)));
        true
    };
    let verified = bench.models.pull("s", &mut consent, &mut Notes::default()).unwrap();
    assert_eq!(std::fs::read(&verified.path).unwrap(), model);
    // The escape character of the notice would have reached the terminal.
    assert_eq!(asked, [("Test".to_owned(), Some("be kind[2J".to_owned()))]);
    assert_eq!(bench.left("s"), ["model.gguf", "model.toml", "notice.txt"]);
}

#[test]
fn without_consent_no_part_is_fetched_and_nothing_is_left() {
    let bench = Bench::new();
    split(&bench, &gguf(2));
    let error = bench.models.pull("s", &mut |_, _| false, &mut Notes::default()).unwrap_err();
    assert!(matches!(error, ModelsError::LicenceRefused { .. }) && error.is_usage(), "{error}");
    assert!(error.to_string().contains("https://licence.example"), "{error}");
    assert!(bench.site.seen("/files/a-").is_empty() && bench.site.seen("/files/b-").is_empty());
    assert_eq!((bench.state("s"), bench.left("s")), (State::Absent, vec![]));
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let model = gguf(3);
    let (bench, _) = one_wheel(&model);
    bench.site.with(|content| content.cuts = vec![100_000]);
    let mut notes = Notes::default();
    bench.models.pull("m", &mut |_, _| true, &mut notes).unwrap();
    let ranges: Vec<_> = bench.site.seen("/files/").iter().map(|r| r.headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-".to_owned())]);
    assert_eq!(notes.0.len(), 1, "{:?}", notes.0);
}

#[test]
fn a_download_that_failed_for_good_is_partial_and_the_next_pull_goes_on() {
    let model = gguf(3);
    let (bench, _) = one_wheel(&model);
    bench.site.with(|content| content.cuts = vec![50_000, 10, 10]);
    let error = bench.pull("m").unwrap_err();
    assert!(matches!(error, ModelsError::Network { .. }) && !error.is_usage(), "{error}");
    assert_eq!(bench.state("m"), State::Partial { bytes: 50_020 });
    assert!(matches!(bench.models.verify("m"), Err(ModelsError::Absent { .. })));
    assert_eq!(bench.pull("m").unwrap().sha256, sha256(&model));
    assert_eq!(bench.site.seen("/files/").last().unwrap().headers["range"], "bytes=50020-");
}

#[test]
fn a_server_without_ranges_is_read_from_the_start_again() {
    let model = gguf(4);
    let (bench, _) = one_wheel(&model);
    bench.site.with(|content| (content.cuts, content.ignore_range) = (vec![70_000], true));
    assert_eq!(bench.pull("m").unwrap().sha256, sha256(&model));
    assert_eq!(bench.site.seen("/files/").len(), 2);
}

#[test]
fn old_bytes_that_do_not_fit_are_thrown_away() {
    let model = gguf(4);
    let (bench, wheel) = one_wheel(&model);
    let folder = bench.models.store.folder("m");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{}.part", sha256(&wheel).short())), b"not the beginning of it")
        .unwrap();
    assert_eq!(bench.pull("m").unwrap().sha256, sha256(&model));
    assert_eq!(bench.site.seen("/files/").len(), 2);
}

#[test]
fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
    let model = gguf(5);
    let (bench, _) = one_wheel(&model);
    bench.site.with(|content| content.refusals = vec![503, 429]);
    bench.pull("m").unwrap();
    bench.describe_web("gone", Some(&model));
    let error = bench.pull("gone").unwrap_err();
    assert!(matches!(error, ModelsError::Status { status: 404, .. }), "{error}");
    assert_eq!(bench.site.seen("gone").len(), 1);
}

#[test]
fn a_wheel_with_another_digest_than_the_index_says_is_never_opened() {
    let (bench, wheel) = one_wheel(&gguf(6));
    let other = sha256(b"something else");
    bench.site.offer("data-pkg", FILE, &wheel, other);
    assert_digests(&bench.pull("m").unwrap_err(), other, sha256(&wheel));
    assert_eq!((bench.state("m"), bench.left("m")), (State::Absent, vec![]));
}

#[test]
fn a_wheel_whose_model_is_another_one_is_refused_and_discarded() {
    let (bench, _) = one_wheel(&gguf(6));
    bench.describe("m", &known(&gguf(7)), false, SOURCE);
    assert_digests(&bench.pull("m").unwrap_err(), sha256(&gguf(7)), sha256(&gguf(6)));
    assert_eq!((bench.state("m"), bench.left("m")), (State::Absent, vec![]));
}

#[test]
fn a_wheel_that_unpacks_to_more_than_promised_is_refused() {
    let model = gguf(6);
    let (bench, _) = one_wheel(&model);
    bench.describe("m", &known(&model[..1000]), false, SOURCE);
    let error = bench.pull("m").unwrap_err();
    assert!(matches!(error, ModelsError::BadWheel { .. }), "{error}");
    assert!(!bench.left("m").iter().any(|file| file.starts_with("model.gguf")), "{:?}", bench.left("m"));
}

#[test]
fn a_wheel_without_the_member_or_a_version_without_wheel_is_an_error() {
    let (bench, wheel) = one_wheel(&gguf(6));
    bench.describe("m", &known(&gguf(6)), false, &SOURCE.replace("m.gguf", "n.gguf"));
    assert!(matches!(bench.pull("m"), Err(ModelsError::BadWheel { .. })));
    bench.site.offer("data-pkg", "data_pkg-1.1-py3-none-any.whl", &wheel, sha256(&wheel));
    assert!(matches!(bench.pull("m"), Err(ModelsError::NoWheel { .. })));
}

#[test]
fn a_web_file_of_another_size_is_refused_before_and_after_it_arrives() {
    let (bench, model) = (Bench::new(), gguf(8));
    bench.describe_web("w", Some(&model));
    for no_length in [false, true] {
        for bytes in [[&model[..], b"more"].concat(), model[..1000].to_vec()] {
            bench.site.put("/w.bin", &bytes);
            bench.site.with(|content| content.no_length = no_length);
            let error = bench.pull("w").unwrap_err();
            let short_without_length = no_length && bytes.len() < model.len();
            let expected = if short_without_length {
                matches!(error, ModelsError::Network { .. })
            } else {
                matches!(error, ModelsError::Size { .. })
            };
            assert!(expected, "{error}");
            assert!(!matches!(bench.state("w"), State::Present { .. }));
        }
    }
}

#[test]
fn first_use_pins_the_digest_and_a_later_pull_must_match_it() {
    let (bench, model) = (Bench::new(), gguf(9));
    bench.describe_web("w", None);
    bench.site.put("/w.bin", &model);
    let mut notes = Notes::default();
    let first = bench.models.pull("w", &mut |_, _| true, &mut notes).unwrap();
    assert!(
        first.first_use && notes.0.iter().any(|note| note.contains("trusted on first use")),
        "{:?}",
        notes.0
    );
    assert!(!bench.pull("w").unwrap().first_use);
    assert!(!bench.models.verify("w").unwrap().first_use);

    std::fs::remove_file(&first.path).unwrap();
    let mut other = gguf(10);
    bench.site.put("/w.bin", &other);
    assert_digests(&bench.pull("w").unwrap_err(), sha256(&model), sha256(&other));
    assert_eq!(bench.state("w"), State::Absent);
    bench.site.put("/w.bin", &model);
    assert!(!bench.pull("w").unwrap().first_use, "the pin outlives the file");

    bench.models.remove("w").unwrap();
    other[4] ^= 1;
    bench.site.put("/w.bin", &other);
    assert!(bench.pull("w").unwrap().first_use, "removing the model forgets the pin");
}

#[test]
fn a_page_instead_of_a_model_is_never_pinned() {
    let bench = Bench::new();
    bench.describe_web("w", None);
    bench.site.put("/w.bin", b"<html>please log in</html>");
    assert!(matches!(bench.pull("w"), Err(ModelsError::NotGguf { .. })));
    assert_eq!((bench.state("w"), bench.left("w")), (State::Absent, vec![]));
}

#[test]
fn without_a_digest_only_the_same_validator_lets_a_download_go_on() {
    let (bench, old, new) = (Bench::new(), gguf(11), gguf(12));
    bench.describe_web("w", None);
    let cut = |etag: &str, model: &[u8]| {
        bench.site.put("/w.bin", model);
        bench.site.with(|content| (content.etag, content.cuts) = (Some(etag.into()), vec![1000, 1000, 1000]));
        bench.pull("w").unwrap_err();
    };
    cut("\"one\"", &old);
    bench.site.with(|content| content.cuts.clear());
    assert_eq!(bench.pull("w").unwrap().sha256, sha256(&old));
    let last = bench.site.seen("w.bin").pop().unwrap();
    assert_eq!(
        (last.headers["range"].as_str(), last.headers["if-range"].as_str()),
        ("bytes=3000-", "\"one\"")
    );

    bench.models.remove("w").unwrap();
    cut("\"one\"", &old);
    bench.site.put("/w.bin", &new);
    bench.site.with(|content| (content.etag, content.cuts) = (Some("\"two\"".into()), vec![]));
    assert_eq!(bench.pull("w").unwrap().sha256, sha256(&new), "not a mixture of both");
}

#[test]
fn redirects_are_bounded_and_keep_to_the_rules() {
    let bench = Bench::new();
    bench.describe_web("w", None);
    for (location, part) in [
        ("http://example.invalid/x", "https"),
        ("/w.bin", "redirects"),
        ("file:///etc/passwd", "bad redirect"),
    ] {
        bench.site.with(|content| content.redirect = Some(location.into()));
        let error = bench.pull("w").unwrap_err().to_string();
        assert!(error.contains(part), "{location}: {error}");
    }
}

#[test]
fn a_second_pull_of_the_same_model_is_told_to_wait() {
    let (bench, _) = one_wheel(&gguf(1));
    let lock = bench.models.store.lock("m").unwrap();
    let error = bench.pull("m").unwrap_err();
    assert!(matches!(error, ModelsError::Busy { .. }) && !error.is_usage(), "{error}");
    drop(lock);
    bench.pull("m").unwrap();
    let _lock = bench.models.store.lock("m").unwrap();
    assert!(matches!(bench.models.remove("m"), Err(ModelsError::Busy { .. })));
}
