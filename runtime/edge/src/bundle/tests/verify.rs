//! What a bundle must be to be believed.

use super::support::Bench;
use crate::bundle::BundleError;
use std::fs;
use std::path::PathBuf;

/// A bench with a bundle of two packages, a model and an adapter.
fn whole() -> (Bench, PathBuf) {
    let bench = Bench::new();
    let base = bench.model(&bench.maker());
    bench.adapter(&bench.maker(), "plant-1", &base);
    let packages = [bench.fake_package("arm64"), bench.fake_package("amd64")];
    let bundle = bench.bundle(7, &packages, Some("plant"), Some("plant-1"));
    (bench, bundle)
}

#[test]
fn a_bundle_is_what_it_was_made_of() {
    let (bench, bundle) = whole();
    let manifest = bench.verify(&bundle).unwrap();
    assert_eq!(manifest.version.to_string(), "7");
    let names: Vec<_> = manifest.files.iter().map(|file| file.name()).collect();
    let packages = ["r2d-edge_1.0_arm64.deb", "r2d-edge_1.0_amd64.deb"];
    assert_eq!(names, [packages[0], packages[1], "plant.gguf", "plant-1.adapter.gguf"]);
    let page = String::from_utf8_lossy(&fs::read(&bundle).unwrap()).into_owned();
    let here = bench.path().display().to_string();
    assert!(!page.contains(&here), "a bundle says where it was made");
}

#[test]
fn an_altered_byte_is_refused_wherever_it_is() {
    let (bench, bundle) = whole();
    let bytes = fs::read(&bundle).unwrap();
    let at = |text: &[u8]| bytes.windows(text.len()).position(|w| w == text).unwrap();
    // Nothing vouches for the words of minisign's untrusted comment.
    let comment =
        at(b"untrusted comment: ") + b"untrusted comment: ".len()..at(b"trusted comment: r2d") - 102;
    let classes = [
        at(b"version = 7") + 10,
        at(b"trusted comment: r2d") + 20,
        at(b"package for arm64"),
        at(b"package for amd64"),
        at(b"GGUF and what"),
        at(b"general.architecture"),
    ];
    let altered = bench.path().join("altered.r2d");
    for at in classes.into_iter().chain((0..bytes.len()).step_by(7)).filter(|at| !comment.contains(at)) {
        let mut other = bytes.clone();
        other[at] ^= 1;
        fs::write(&altered, other).unwrap();
        let error = bench.verify(&altered).expect_err(&format!("byte {at} may be altered"));
        assert_eq!(error.exit() as u8, 1, "byte {at}: {error}");
    }
}

#[test]
fn a_bundle_that_was_cut_is_refused() {
    let (bench, bundle) = whole();
    let bytes = fs::read(&bundle).unwrap();
    let cut = bench.path().join("cut.r2d");
    for n in (0..bytes.len()).step_by(100).chain([bytes.len() - 1]) {
        fs::write(&cut, &bytes[..n]).unwrap();
        let error = bench.verify(&cut).expect_err(&format!("{n} bytes are enough"));
        assert!(matches!(error, BundleError::NotBundle { .. } | BundleError::Signature { .. }), "{error}");
    }
}

#[test]
fn a_bundle_of_somebody_else_is_refused_before_anything_in_it_is_read() {
    let (_maker, bundle) = whole();
    let board = Bench::new();
    let error = board.verify(&bundle).unwrap_err();
    assert!(matches!(error, BundleError::Signature { .. }), "{error}");
    assert!(error.to_string().contains(bundle.to_str().unwrap()), "{error}");
    let absent = board.verify(&board.path().join("absent.r2d")).unwrap_err().to_string();
    assert!(absent.contains("absent.r2d") && !absent.contains("permissions"), "{absent}");
    assert!(matches!(board.install(&bundle), Err(BundleError::Signature { .. })));
    // Not even that its page is nonsense is found out before its signature.
    let somebody = Bench::new();
    let nonsense = somebody.forge("nonsense", &[]);
    assert!(matches!(board.verify(&nonsense), Err(BundleError::Signature { .. })));
}

const SHA256: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

fn page(name: &str) -> String {
    format!(
        "format = 1\nversion = 9\ncreated = \"2026-11-26T10:00:00Z\"\n\
         [[file]]\nrole = \"package\"\nname = \"{name}\"\nsize = 3\nsha256 = \"{SHA256}\"\narch = \"arm64\"\n"
    )
}

#[test]
fn a_signed_page_that_does_not_fit_its_files_is_refused() {
    let bench = Bench::new();
    let reason = |page: &str, files: &[(&str, &[u8])]| match bench.verify(&bench.forge(page, files)) {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    let (one, page_of_one) = (("p_arm64.deb", b"foo".as_slice()), page("p_arm64.deb"));
    assert_eq!(reason(&page_of_one, &[one]), "");
    for (files, word) in [
        (vec![], "ends where p_arm64.deb should begin"),
        (vec![one, one], "behind the last file"),
        (vec![one, ("more", b"".as_slice())], "behind the last file"),
        (vec![("other", b"foo".as_slice())], "\"other\" stands where p_arm64.deb should"),
        (vec![("p_arm64.deb", b"fo".as_slice())], "has 2 bytes, not 3"),
        (vec![("p_arm64.deb", b"fop".as_slice())], "altered"),
    ] {
        let reason = reason(&page_of_one, &files);
        assert!(reason.contains(word), "{reason}");
    }
    for name in ["../p_arm64.deb", "/etc/cron.d/p", "a/p.deb", "bundle.toml", ".."] {
        let reason = reason(&page(name), &[one]);
        assert!(reason.contains("no plain file name"), "{name}: {reason}");
    }
    let two = page_of_one.clone()
        + page_of_one.split_once("[[file]]").map(|(_, file)| "[[file]]".to_owned() + file).unwrap().as_str();
    assert!(reason(&two, &[one, one]).contains("twice"));
}

#[test]
fn an_adapter_goes_into_a_bundle_only_with_its_own_model() {
    let bench = Bench::new();
    bench.model(&bench.maker());
    bench.adapter(&bench.maker(), "stray", &"ab".repeat(32));
    let packages = [bench.fake_package("arm64")];
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.bundle(1, &packages, Some("plant"), Some("stray"))
    }));
    assert!(made.is_err());
    assert!(!bench.path().join("release-1.r2d").exists());
}
