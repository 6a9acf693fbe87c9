//! What a board does with a bundle: takes it, refuses it, is killed over it, goes back.

use super::support::{Bench, GOOD, have_dpkg};
use crate::bundle::install::{Running, STEPS, Step};
use crate::bundle::{BundleError, Install, arch, catch_up, leave, look_into};
use crate::models::adapters::Adapters;
use crate::models::{Models, Silent};
use crate::weights::Loading;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

/// A bench with bundles 1 to 3: program and model, and the adapters `plant-2` and `plant-3` from the second on.
fn three() -> (Bench, String, [PathBuf; 3]) {
    let bench = Bench::new();
    let base = bench.model(&bench.maker());
    for name in ["plant-2", "plant-3"] {
        bench.adapter(&bench.maker(), name, &base);
    }
    let bundles = [1, 2, 3].map(|n: u32| {
        let package = bench.package(&format!("# release {n}\n{GOOD}"));
        let adapter = (n > 1).then(|| format!("plant-{n}"));
        bench.bundle(n, &[package, bench.fake_package("sparc")], Some("plant"), adapter.as_deref())
    });
    (bench, base, bundles)
}

#[test]
fn a_release_is_installed_with_its_model_and_adapter_and_taken_back() {
    if !have_dpkg() {
        return;
    }
    let (bench, base, [one, two, three]) = three();
    assert!(matches!(bench.rollback(), Err(BundleError::NothingBefore)));
    bench.install(&one).unwrap();
    let model = Models::open(&bench.home()).unwrap().verify("plant").unwrap();
    assert_eq!(model.sha256.to_string(), base);
    assert_eq!(fs::metadata(&model.path).unwrap().nlink(), 2, "slot and store share the model");
    assert!(matches!(bench.rollback(), Err(BundleError::NothingBefore)));
    // An adapter of the site's own is in force when the next release comes.
    bench.adapter(&bench.home(), "own", &base);
    Adapters::open(&bench.home()).unwrap().activate("own", &base).unwrap();

    bench.install(&two).unwrap();
    assert_eq!(bench.in_force().unwrap().0, "2");
    assert!(bench.in_force().unwrap().1.contains("release 2"));
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("plant-2"));
    let slot = bench.site().folder(bench.site().current().unwrap().unwrap());
    let mut left: Vec<_> =
        fs::read_dir(slot).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["adapter.gguf", "bundle.toml", "bundle.toml.minisig", "model.gguf", "usr"]);

    assert_eq!(bench.rollback().unwrap().version.to_string(), "1");
    assert!(bench.in_force().unwrap().1.contains("release 1"));
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("own"));
    // The version that was left is not forgotten, and can be gone back to.
    assert!(matches!(bench.install(&two), Err(BundleError::NotNewer { .. })));
    assert_eq!(bench.rollback().unwrap().version.to_string(), "2");
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("plant-2"));
    bench.install(&three).unwrap();
    assert_eq!(bench.rollback().unwrap().version.to_string(), "2");
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("plant-2"));
    assert_eq!(bench.site().state().unwrap().highest, Some("3".parse().unwrap()));
    // What was left altogether can be gone back to as well.
    leave(&bench.home()).unwrap();
    assert_eq!(bench.version(), None);
    assert_eq!(bench.rollback().unwrap().version.to_string(), "2");
    assert_eq!(bench.version().as_deref(), Some("2"));
    assert_eq!(bench.rollback().unwrap().version.to_string(), "3");
}

#[test]
fn an_equal_or_older_version_is_refused_and_changes_nothing() {
    if !have_dpkg() {
        return;
    }
    let (bench, _, [one, two, _]) = three();
    bench.install(&two).unwrap();
    for old in [&one, &two] {
        let error = bench.install(old).unwrap_err();
        assert!(matches!(error, BundleError::NotNewer { .. }), "{error}");
        assert_eq!(error.exit() as u8, 1);
    }
    assert_eq!(bench.version().as_deref(), Some("2"));
}

#[test]
fn a_program_that_fails_or_hangs_in_its_self_test_leaves_the_old_release_in_force() {
    if !have_dpkg() {
        return;
    }
    let (bench, base, [one, ..]) = three();
    bench.install(&one).unwrap();
    for (n, script, limit, word) in [
        (
            5,
            "echo loading\necho 'error: the pivots cannot be read' >&2\nexit 1",
            60,
            "the pivots cannot be read",
        ),
        (6, "sleep 600 & sleep 600", 1, "not done after"),
        (7, "kill -9 $$", 60, "signal"),
        // Programs that end well and never tested anything.
        (8, "exit 0", 60, "without this trial's token"),
        (9, "echo ok; echo \"passed 0123456789abcdef\"; echo \"$@\"", 60, "without this trial's token"),
        (10, "echo \"passed $7\" >&2", 60, "without this trial's token"),
        (11, "echo \"error: unexpected argument '--token' found\" >&2; exit 2", 60, "as new as this one"),
    ] {
        let bundle = bench.bundle(n, &[bench.package(script)], Some("plant"), Some("plant-2"));
        let error = bench.install_within(&bundle, Duration::from_secs(limit)).unwrap_err();
        assert!(matches!(error, BundleError::SelfTest { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(error.exit() as u8, 1);
        assert_eq!(bench.version().as_deref(), Some("1"));
        assert_eq!(bench.adapter_in_force(&base), None);
        let other = bench.site().folder(bench.site().current().unwrap().unwrap().other());
        assert_eq!(fs::read_dir(other).unwrap().count(), 0, "the slot is cleared");
    }
    // What was never in force does not count.
    bench.install(&bench.bundle(5, &[bench.package(GOOD)], None, None)).unwrap();
    assert_eq!(bench.version().as_deref(), Some("5"));
}

#[test]
fn killed_between_any_two_steps_the_old_or_the_new_release_is_whole() {
    if !have_dpkg() {
        return;
    }
    let switch = STEPS.iter().position(|step| *step == Step::Switch).unwrap();
    for n in 0..=STEPS.len() {
        let (bench, base, [one, two, three]) = three();
        bench.install(&one).unwrap();
        let home = bench.home();
        {
            let site = bench.site();
            let loading = &Loading { config: &bench.config, home: &home };
            let limit = Duration::from_secs(60);
            let order =
                Install { loading, file: &two, key: &bench.key, config_file: None, arch: arch(), limit };
            let running = Running::begin(&order, &site, &mut Silent).unwrap();
            for step in &STEPS[..n] {
                running.step(*step, &mut Silent).unwrap();
            }
        }
        let switched = n > switch;
        let (version, adapter) = if switched { ("2", Some("plant-2")) } else { ("1", None) };
        assert_eq!(bench.version().as_deref(), Some(version), "after {n} steps");
        // What serve does when it starts.
        catch_up(&home, &mut Silent).unwrap();
        assert_eq!(bench.adapter_in_force(&base).as_deref(), adapter, "after {n} steps");
        assert!(matches!(bench.install(&one), Err(BundleError::NotNewer { .. })), "after {n} steps");
        assert_eq!(bench.install(&two).is_ok(), !switched, "after {n} steps");
        assert_eq!(bench.version().as_deref(), Some("2"), "after {n} steps");
        bench.install(&three).unwrap();
        assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("plant-3"), "after {n} steps");
        assert_eq!(bench.rollback().unwrap().version.to_string(), "2", "after {n} steps");
    }
}

#[test]
fn a_rollback_that_was_broken_off_lends_no_release_another_ones_adapter() {
    if !have_dpkg() {
        return;
    }
    let (bench, base, [one, two, _]) = three();
    bench.install(&one).unwrap();
    bench.adapter(&bench.home(), "own", &base);
    Adapters::open(&bench.home()).unwrap().activate("own", &base).unwrap();
    bench.install(&two).unwrap();
    // Power fails behind the switch, and somebody is faster than `serve`.
    let site = bench.site();
    site.switch(site.current().unwrap().unwrap().other()).unwrap();
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("plant-2"));
    assert_eq!(bench.rollback().unwrap().version.to_string(), "2");
    assert_eq!(bench.rollback().unwrap().version.to_string(), "1");
    assert_eq!(bench.adapter_in_force(&base).as_deref(), Some("own"));
}

#[test]
fn a_version_counts_even_when_the_kill_came_before_it_was_written_down() {
    if !have_dpkg() {
        return;
    }
    let (bench, _, [one, two, _]) = three();
    bench.install(&one).unwrap();
    bench.install(&two).unwrap();
    fs::remove_file(bench.home().join("bundle/state.toml")).unwrap();
    assert!(matches!(bench.install(&two), Err(BundleError::NotNewer { .. })));
    bench.rollback().unwrap();
    assert!(matches!(bench.install(&two), Err(BundleError::NotNewer { .. })), "it was remembered on leaving");
}

#[test]
fn a_package_without_a_program_of_its_own_is_refused() {
    if !have_dpkg() {
        return;
    }
    let bench = Bench::new();
    bench.model(&bench.maker());
    let refused = |n: u32, package: PathBuf| {
        let bundle = bench.bundle(n, &[package], Some("plant"), None);
        let error = bench.install(&bundle).unwrap_err();
        assert_eq!(bench.version(), None);
        error.to_string()
    };
    assert!(refused(1, bench.package_of(&|_| ())).contains("no program"));
    let link = |bin: &std::path::Path| symlink("/bin/true", bin).unwrap();
    assert!(refused(2, bench.package_of(&link)).contains("is a link to /"));
    let torn = bench.fake_package(arch());
    assert!(refused(3, torn).contains("cannot be unpacked"));
    assert!(refused(4, bench.fake_package("sparc")).contains("only for sparc"));
}

#[test]
fn the_maker_looks_into_a_package_before_it_is_signed() {
    if !have_dpkg() {
        return;
    }
    let bench = Bench::new();
    let fault = |package: &std::path::Path| look_into(package).unwrap_err().to_string();
    let good = bench.package(GOOD);
    look_into(&good).unwrap();
    let renamed = good.with_file_name("r2d-edge_1.0_sparc.deb");
    fs::copy(&good, &renamed).unwrap();
    assert!(fault(&renamed).contains("by its name for sparc"));
    // A program whose name only begins as ours does is another one.
    let beside = |bin: &std::path::Path| fs::write(bin.with_file_name("r2d-edge-admin"), "").unwrap();
    assert!(fault(&bench.package_of(&beside)).contains("holds no usr/bin/r2d-edge"));
    assert!(fault(&bench.fake_package(arch())).contains("dpkg-deb"));
}

#[test]
fn a_name_that_means_something_else_here_is_refused_before_the_switch() {
    if !have_dpkg() {
        return;
    }
    let (bench, base, [one, two, _]) = three();
    let file = bench.path().join("another.bin");
    fs::write(&file, b"GGUF and something else").unwrap();
    let models = Models::open(&bench.home()).unwrap();
    models.import(&file, Some("plant"), &mut Silent).unwrap();
    assert!(matches!(bench.install(&one), Err(BundleError::Taken { what: "model", .. })));
    models.remove("plant").unwrap();
    bench.install(&one).unwrap();
    bench.adapter(&bench.home(), "own", &base);
    // Another file under the second bundle's name.
    let own = bench.home().join("adapters/own/adapter.gguf");
    Adapters::open(&bench.home()).unwrap().import(&own, "plant-2", None, &mut Silent).unwrap();
    assert!(matches!(bench.install(&two), Err(BundleError::Taken { what: "adapter", .. })));
    assert_eq!(bench.version().as_deref(), Some("1"));
}

#[test]
fn a_bundle_without_a_model_is_tried_on_the_configured_one() {
    if !have_dpkg() {
        return;
    }
    let bench = Bench::new();
    let script = "test \"$(cat \"$3\")\" = 'GGUF and what a model is made of' && test \"$5\" = auto && \
                  echo \"passed $7\"";
    let bundle = bench.bundle(1, &[bench.package(script)], None, None);
    let error = bench.install(&bundle).unwrap_err();
    assert!(error.to_string().contains("plant"), "{error}");
    bench.model(&bench.home());
    bench.install(&bundle).unwrap();
    assert_eq!(bench.version().as_deref(), Some("1"));
}

#[test]
fn a_release_is_tried_on_the_model_that_the_service_runs_and_refused_without_one() {
    if !have_dpkg() {
        return;
    }
    let (mut bench, _, [one, two, _]) = three();
    bench.install(&one).unwrap();
    for absent in ["absent", "/absent/model.gguf"] {
        bench.config.model.name = absent.into();
        let error = bench.install(&two).unwrap_err();
        assert!(matches!(error, BundleError::NoModel { .. }), "{error}");
        assert_eq!(error.exit() as u8, 2);
        let told = error.to_string();
        let words = ["model.name is \"", absent, "brings the model `plant`", "on this board: ", "; hint: "];
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
        assert_eq!(told.matches("hint:").count(), 1, "{told}");
        assert_eq!(bench.version().as_deref(), Some("1"));
    }
    // Another model than the bundle's, which is here: the bundle's adapter is no matter of it.
    let file = bench.path().join("another.bin");
    fs::write(&file, b"GGUF and something else").unwrap();
    Models::open(&bench.home()).unwrap().import(&file, Some("own"), &mut Silent).unwrap();
    bench.config.model.name = "own".into();
    let script =
        "test \"$(cat \"$3\")\" = 'GGUF and something else' && test \"$5\" = auto && echo \"passed $7\"";
    let bundle = bench.bundle(12, &[bench.package(script)], Some("plant"), Some("plant-2"));
    bench.install(&bundle).unwrap();
    assert_eq!(bench.version().as_deref(), Some("12"));
}

#[test]
fn an_adapter_that_the_configuration_passes_over_is_not_tried() {
    if !have_dpkg() {
        return;
    }
    let (mut bench, ..) = three();
    bench.config.model.adapter = "none".into();
    let script = "test \"$5\" = none && echo \"passed $7\"";
    bench.install(&bench.bundle(1, &[bench.package(script)], Some("plant"), Some("plant-2"))).unwrap();
    bench.config.model.adapter = "plant-3".into();
    let script = "test \"$(basename \"$5\")\" = adapter.gguf && echo \"passed $7\"";
    bench.install(&bench.bundle(2, &[bench.package(script)], Some("plant"), Some("plant-3"))).unwrap();
}
