//! Adapters on a disk: what is taken in, put in force, taken back and refused.

use super::*;
use crate::models::Silent;
use r2d_distill::gguf::{Body, Writer};
use tempfile::TempDir;

const BASE: &str = "aa";

/// An adapter file of one small matrix.
pub(crate) fn file(folder: &Path, name: &str, base: &str, value: f32) -> PathBuf {
    let mut writer = Writer::default();
    writer.text("general.type", "adapter");
    writer.text("general.architecture", "llama");
    writer.text("general.name", name);
    writer.text("adapter.type", "lora");
    writer.f32("adapter.lora.alpha", 2.0);
    if !base.is_empty() {
        writer.text("r2d.adapter.base_sha256", base);
    }
    writer.tensor("blk.0.attn_q.weight.lora_a", &[4, 1], Body::F32(vec![value; 4]));
    writer.tensor("blk.0.attn_q.weight.lora_b", &[1, 4], Body::F32(vec![value; 4]));
    let path = folder.join(format!("{name}.gguf"));
    writer.write(&path).unwrap();
    path
}

fn site() -> (TempDir, Adapters) {
    let folder = tempfile::tempdir().unwrap();
    let adapters = Adapters::open(&folder.path().join("home")).unwrap();
    (folder, adapters)
}

fn with(folder: &TempDir, adapters: &Adapters, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        let file = file(folder.path(), name, BASE, n as f32 + 1.0);
        adapters.import(&file, name, None, &mut Silent).unwrap();
    }
}

#[test]
fn what_ships_is_what_its_manifest_says() {
    let (_folder, adapters) = site();
    let shipped = shipped::all().unwrap();
    assert!(!shipped.is_empty());
    for s in shipped {
        let adapter = adapters.verify(&s.name).unwrap();
        assert_eq!((adapter.sha256, &adapter.info.provenance.base_sha256), (s.sha256, &s.base_sha256));
        assert_eq!(adapters.in_force(&s.base_sha256).unwrap().as_ref(), Some(&s.name));
        assert!(matches!(adapters.remove(&s.name), Err(AdaptersError::Shipped { .. })));
        let other = file(_folder.path(), &s.name, BASE, 1.0);
        assert!(matches!(
            adapters.import(&other, &s.name, None, &mut Silent),
            Err(AdaptersError::TakenByShipped { .. })
        ));
        // Damage is mended from the program itself.
        fs::write(&adapter.path, b"GGUF and nothing else").unwrap();
        assert_eq!(adapters.verify(&s.name).unwrap().sha256, s.sha256);
    }
}

#[test]
fn activation_and_rollback_walk_one_path() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one", "two"]);
    assert_eq!(adapters.in_force(BASE).unwrap(), None);
    assert!(matches!(adapters.rollback(BASE), Err(AdaptersError::NothingBefore)));
    assert_eq!(adapters.activate("one", BASE).unwrap(), None);
    assert_eq!(adapters.activate("two", BASE).unwrap().as_deref(), Some("one"));
    assert_eq!(adapters.activate("two", BASE).unwrap().as_deref(), Some("two"));
    assert_eq!(adapters.activate(NONE, BASE).unwrap().as_deref(), Some("two"));
    assert_eq!(adapters.in_force(BASE).unwrap(), None);
    assert_eq!(adapters.rollback(BASE).unwrap().as_deref(), Some("two"));
    assert_eq!(adapters.rollback(BASE).unwrap().as_deref(), Some("one"));
    assert_eq!(adapters.rollback(BASE).unwrap(), None);
    assert!(matches!(adapters.rollback(BASE), Err(AdaptersError::NothingBefore)));
}

#[test]
fn the_way_back_is_bounded() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one", "two"]);
    for n in 0..100 {
        adapters.activate(["one", "two"][n % 2], BASE).unwrap();
    }
    let n_back = (0..100).take_while(|_| adapters.rollback(BASE).is_ok()).count();
    assert_eq!(n_back, 16);
}

#[test]
fn another_base_is_refused_by_name() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one"]);
    let error = adapters.activate("one", "bb").unwrap_err();
    assert!(error.to_string().contains("SHA-256 aa, not on bb"), "{error}");
    assert!(error.is_usage());
    assert_eq!(adapters.in_force("bb").unwrap(), None);
}

#[test]
fn what_the_service_refused_is_out_of_force_and_says_why() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one", "two"]);
    adapters.activate("one", BASE).unwrap();
    adapters.activate("two", BASE).unwrap();
    adapters.refuse("two", BASE, "it reads nothing").unwrap();
    assert_eq!(adapters.in_force(BASE).unwrap().as_deref(), Some("one"));
    let list = adapters.list().unwrap();
    let of = |name: &str| list.iter().find(|l| l.name == name).unwrap();
    assert!(of("one").in_force && of("one").refused.is_none());
    assert_eq!(of("two").refused.as_ref().unwrap().reason, "it reads nothing");
    // A refusal that comes late takes nothing else out of force.
    adapters.refuse("two", BASE, "again").unwrap();
    assert_eq!(adapters.in_force(BASE).unwrap().as_deref(), Some("one"));
    // The person may try it again.
    adapters.activate("two", BASE).unwrap();
    assert!(adapters.list().unwrap().iter().all(|l| l.refused.is_none()));
}

#[test]
fn altered_files_and_strange_ones_are_refused() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one"]);
    let nameless = file(folder.path(), "x", "", 1.0);
    assert!(matches!(adapters.import(&nameless, "x", None, &mut Silent), Err(AdaptersError::NoBase { .. })));
    let model = folder.path().join("model.gguf");
    let mut writer = Writer::default();
    writer.text("general.type", "model");
    writer.write(&model).unwrap();
    assert!(matches!(adapters.import(&model, "m", None, &mut Silent), Err(AdaptersError::File(_))));
    let good = file(folder.path(), "good", BASE, 9.0);
    for name in ["auto", "none", "../up", "UP", ""] {
        let error = adapters.import(&good, name, None, &mut Silent).unwrap_err();
        assert!(error.is_usage(), "{name}: {error}");
    }
    assert!(matches!(adapters.import(&good, "one", None, &mut Silent), Err(AdaptersError::Taken { .. })));
    let path = adapters.verify("one").unwrap().path;
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = adapters.verify("one").unwrap_err();
    assert!(error.to_string().contains("damaged or altered"), "{error}");
    assert!(adapters.activate("one", BASE).is_err());
    assert!(matches!(adapters.verify("nobody"), Err(AdaptersError::Unknown { .. })));
}

#[test]
fn a_damaged_file_is_listed_and_is_in_nobodys_way() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one", "two"]);
    adapters.activate("two", BASE).unwrap();
    let path = adapters.verify("two").unwrap().path;
    fs::write(&path, b"GGUF and nothing else").unwrap();
    let list = adapters.list().unwrap();
    let of = |name: &str| list.iter().find(|l| l.name == name).unwrap();
    assert!(of("one").damaged.is_none() && !of("one").in_force && of("one").base_sha256 == BASE);
    assert!(of("two").damaged.is_some() && of("two").in_force && of("two").base_sha256.is_empty());
    assert_eq!(list.len(), 2 + shipped::all().unwrap().len());
    fs::remove_file(&path).unwrap();
    assert!(adapters.list().unwrap().iter().any(|l| l.name == "two" && l.damaged.is_some()));
}

#[test]
fn a_name_is_free_for_no_file_but_its_own() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one"]);
    let (own, absent) = (folder.path().join("one.gguf"), folder.path().join("absent.gguf"));
    let other = file(folder.path(), "other", BASE, 7.0);
    assert!(adapters.check_free("new", &absent).is_ok() && adapters.check_free("one", &own).is_ok());
    for file in [&other, &absent] {
        assert!(matches!(adapters.check_free("one", file), Err(AdaptersError::Taken { .. })));
    }
    let shipped = &shipped::all().unwrap()[0].name;
    assert!(matches!(adapters.check_free(shipped, &absent), Err(AdaptersError::TakenByShipped { .. })));
    assert!(matches!(adapters.check_free(AUTO, &absent), Err(AdaptersError::Reserved { .. })));
    assert!(adapters.check_free("../up", &absent).unwrap_err().is_usage());
}

#[test]
fn only_what_is_not_in_force_is_removed() {
    let (folder, adapters) = site();
    with(&folder, &adapters, &["one", "two"]);
    adapters.activate("one", BASE).unwrap();
    adapters.activate("two", BASE).unwrap();
    assert!(matches!(adapters.remove("two"), Err(AdaptersError::InForce { .. })));
    assert!(adapters.remove("one").unwrap() > 0);
    // What is gone is not gone back to.
    assert_eq!(adapters.rollback(BASE).unwrap(), None);
    assert!(matches!(adapters.remove("one"), Err(AdaptersError::Unknown { .. })));
}
