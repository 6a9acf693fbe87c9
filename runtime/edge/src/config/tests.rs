//! Tests of the configuration as a whole: sources in, values or problems out.

use super::choice::names_of;
use super::key::{Form, Key};
use super::schema::SECTIONS;
use super::*;
use std::collections::BTreeSet;

/// Sources without a file, written the short way.
fn sources(env: &[(&str, &str)], sets: &[&str]) -> Sources {
    Sources {
        env: env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect(),
        sets: sets.iter().map(|s| (*s).to_owned()).collect(),
        ..Sources::default()
    }
}

/// Loads `file` as the configuration file, over `rest`.
fn load_file(file: &str, rest: Sources) -> Result<Loaded, ConfigErrors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    Config::load(&Sources { file: Some(path), ..rest })
}

fn board(table: &str) -> Option<BoardDefaults> {
    Some(BoardDefaults { profile: "pi5".into(), table: table.parse().unwrap() })
}

fn messages(result: Result<Loaded, ConfigErrors>) -> Vec<String> {
    result.unwrap_err().problems.iter().map(ToString::to_string).collect()
}

/// The one message of `result`, from its key on.
fn message(result: Result<Loaded, ConfigErrors>) -> String {
    let all = messages(result);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

#[test]
fn without_any_source_every_value_is_the_default() {
    let loaded = Config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.keys().all(|shown| shown.origin == Origin::Default));
    // The core has the defaults too, but for the threshold, which belongs to the adapter that ships with the binary.
    let core = r2d_core::policy::Policy { unsafe_at: 0.15, ..r2d_core::policy::Policy::default() };
    assert_eq!(loaded.config.policy.rules(), core);
    assert_eq!(loaded.config.mqtt.listen, "127.0.0.1:1883");
}

#[test]
fn the_example_sets_nothing_as_it_stands() {
    assert_eq!(load_file(&Config::example(), Sources::default()).unwrap().config, Config::default());
}

#[test]
fn the_example_sets_every_key_to_its_default_once_uncommented() {
    // Prose begins with "# ", a key with "#".
    let uncommented: Vec<String> = Config::example()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => key.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let loaded = load_file(&uncommented.join("\n"), Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    for shown in loaded.keys() {
        assert!(matches!(shown.origin, Origin::File { line, .. } if line > 0), "{} is not there", shown.key);
    }
}

#[test]
fn the_example_describes_every_key_and_section() {
    let text = Config::example();
    for key in KEYS {
        assert!(key.description.ends_with('.'), "{}", key.path);
        assert!(text.contains(&format!("# {}\n# {}; ", key.description, key.range())), "{}", key.path);
    }
    assert!(SECTIONS.iter().all(|(_, description)| text.contains(description)));
}

#[test]
fn a_stronger_source_wins_over_each_weaker_one() {
    // Bit i of `mask` says whether source i, weakest first, sets the value i + 100.
    for mask in 0..16_u16 {
        let has = |i: u16| mask & (1 << i) != 0;
        let file = if has(1) { "[service]\nqueue = 101\n" } else { "" };
        let mut rest = sources(
            if has(2) { &[("R2D_SERVICE_QUEUE", "102")] } else { &[] },
            if has(3) { &["service.queue=103"] } else { &[] },
        );
        rest.board = if has(0) { board("service.queue = 100") } else { None };
        let loaded = load_file(file, rest).unwrap();
        let winner = (0..4).rev().find(|i| has(*i));
        assert_eq!(loaded.config.service.queue, winner.map_or(16, |i| 100 + i), "mask {mask:04b}");
        let origin = loaded.keys().find(|s| s.key == "service.queue").unwrap().origin;
        let from = match origin {
            Origin::Board { .. } => Some(0),
            Origin::File { line, .. } => {
                assert_eq!(line, 2);
                Some(1)
            }
            Origin::Environment { .. } => Some(2),
            Origin::Flag => Some(3),
            Origin::Default | Origin::HostName => None,
        };
        assert_eq!(from, winner, "mask {mask:04b}");
    }
}

#[test]
fn of_two_sets_of_one_key_the_last_holds() {
    let loaded = Config::load(&sources(&[], &["model.threads=2", "model.threads=3"])).unwrap();
    assert_eq!(loaded.config.model.threads, 3);
}

#[test]
fn the_host_name_is_the_weakest_source_of_the_device() {
    let mut sources = Sources { host_name: Some("press 7.plant.example".into()), ..Sources::default() };
    let loaded = Config::load(&sources).unwrap();
    assert_eq!(loaded.config.device.device, "press-7");
    assert_eq!(loaded.keys().find(|s| s.key == "device.device").unwrap().origin, Origin::HostName);
    sources.board = board("device.device = 'b'");
    assert_eq!(Config::load(&sources).unwrap().config.device.device, "b");
    sources = Sources { host_name: Some("...".into()), ..Sources::default() };
    assert_eq!(Config::load(&sources).unwrap().config.device.device, "device");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one_wherever_it_comes_from() {
    let set = message(Config::load(&sources(&[], &["model.nctx=1"])));
    assert_eq!(set, "--set: model.nctx: unknown key; hint: did you mean model.n_ctx?");
    let env = message(Config::load(&sources(&[("R2D_MODEL_NCTX", "1"), ("OTHER", "x")], &[])));
    assert_eq!(
        env,
        "environment R2D_MODEL_NCTX: R2D_MODEL_NCTX: unknown key; hint: did you mean R2D_MODEL_N_CTX?"
    );
    let file = message(load_file("[model]\n\nnctx = 1\n", Sources::default()));
    assert!(
        file.ends_with("config.toml:3: model.nctx: unknown key; hint: did you mean model.n_ctx?"),
        "{file}"
    );
    let section = message(load_file("[modle]\nn_ctx = 1\n", Sources::default()));
    assert!(
        section.ends_with("config.toml:1: [modle]: unknown key; hint: did you mean [model]?"),
        "{section}"
    );
    let bare = message(load_file("n_ctx = 1\n", Sources::default()));
    assert!(bare.ends_with(":1: n_ctx: unknown key; hint: did you mean model.n_ctx?"), "{bare}");
    let profile = message(Config::load(&Sources { board: board("model.nctx = 1"), ..Sources::default() }));
    assert!(profile.starts_with("board profile pi5: model.nctx: unknown key"), "{profile}");
}

#[test]
fn reserved_variables_are_no_keys() {
    let set: Vec<(&str, &str)> = RESERVED_VARIABLES.iter().map(|name| (*name, "x")).collect();
    assert_eq!(Config::load(&sources(&set, &[])).unwrap().config, Config::default());
    for key in KEYS {
        assert!(!RESERVED_VARIABLES.contains(&variable(key.path).as_str()), "{}", key.path);
    }
}

#[test]
fn a_wrong_type_and_a_value_out_of_range_say_what_is_wanted() {
    let range = message(Config::load(&sources(&[("R2D_MODEL_PARALLEL", "9")], &[])));
    assert_eq!(
        range,
        "environment R2D_MODEL_PARALLEL: model.parallel = \"9\": not allowed, wants 1 to 8 requests; \
         hint: Requests generated side by side. The default is 1."
    );
    let kind = message(load_file("[model]\nn_ctx = \"2048\"", Sources::default()));
    assert!(kind.contains(":2: model.n_ctx = \"2048\": not a whole number, wants 128 to"), "{kind}");
    let choice = message(Config::load(&sources(&[], &["policy.depth=deep"])));
    assert!(
        choice.contains("policy.depth = \"deep\": not allowed, wants one of full, brief, none; "),
        "{choice}"
    );
    let table = message(load_file("model = 3", Sources::default()));
    assert!(table.contains(":1: model: not a table; hint: write [model]"), "{table}");
    let bare = message(Config::load(&sources(&[], &["policy.depth"])));
    assert!(
        bare.contains("policy.depth: no '=' after the key; hint: write --set policy.depth=VALUE"),
        "{bare}"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let env = vec![("R2D_DEVICE_SITE".into(), OsString::from_vec(vec![0xff]))];
    let text = message(Config::load(&Sources { env, ..Sources::default() }));
    assert!(text.contains("device.site = \"\": not UTF-8"), "{text}");
}

#[test]
fn all_problems_are_reported_at_once_even_where_a_stronger_source_covers_them() {
    let file = "[model]\nn_ctx = 1\n[mqtt]\nurl = 'plant'\n[policy]\nunsafe_at = 2.0\n";
    let all = messages(load_file(file, sources(&[("R2D_LANGUAGE", "en")], &["model.n_ctx=512"])));
    assert_eq!(all.len(), 4, "{all:#?}");
}

#[test]
fn the_number_of_problems_is_bounded() {
    let sets: Vec<String> = (0..30).map(|i| format!("nothing.key{i}=1")).collect();
    let errors = Config::load(&Sources { sets, ..Sources::default() }).unwrap_err();
    assert_eq!((errors.problems.len(), errors.omitted), (MAX_PROBLEMS, 10));
    assert!(errors.to_string().ends_with("\nand 10 more"));
}

#[test]
fn no_two_keys_share_an_environment_variable() {
    let mut seen = BTreeSet::new();
    for key in KEYS {
        assert!(seen.insert(variable(key.path)), "{}", key.path);
    }
    // A language's variable goes on after its key's, so nothing else may begin like that.
    for table in KEYS.iter().filter(|key| matches!(key.allowed, Allowed::Languages)) {
        let prefix = format!("{}_", variable(table.path));
        assert!(KEYS.iter().all(|key| !variable(key.path).starts_with(&prefix)), "{}", table.path);
    }
    assert_eq!(variable("mqtt.url"), "R2D_MQTT_URL");
}

#[test]
fn every_key_can_be_set_by_its_variable_and_by_flag() {
    for shown in Config::load(&Sources::default()).unwrap().keys() {
        let text = match &shown.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let set = Sources { sets: vec![format!("{}={text}", shown.key)], ..Sources::default() };
        for source in [sources(&[(&shown.variable, &text)], &[]), set] {
            let loaded = Config::load(&source).unwrap();
            let origin = loaded.keys().find(|s| s.key == shown.key).unwrap().origin;
            assert_ne!(origin, Origin::Default, "{}", shown.key);
            assert_eq!(loaded.config, Config::default(), "{}", shown.key);
        }
    }
}

#[test]
fn every_field_can_hold_the_whole_range_of_its_key() {
    let hold = |key: &Key, value: Value| {
        let mut table = Table::try_from(Config::default()).unwrap();
        insert(&mut table, key.path, value.clone());
        let held = Table::try_from(table.try_into::<Config>().unwrap()).unwrap();
        assert_eq!(held[key.section()][key.leaf()], value, "{}", key.path);
    };
    for key in KEYS {
        match key.allowed {
            Allowed::Integer(min, max) => [min, max].map(|n| hold(key, Value::Integer(n))),
            Allowed::Real(min, max) => [min, max].map(|x| hold(key, Value::Float(f64::from(x as f32)))),
            Allowed::Choice(names) => {
                assert!(names().len() > 1, "{}", key.path);
                names().iter().for_each(|name| hold(key, Value::from(*name)));
                continue;
            }
            _ => continue,
        };
    }
    assert_eq!(names_of::<Mode>(), ["enforce", "shadow"]);
}

#[test]
fn secrets_are_shown_as_set_only() {
    let loaded = Config::load(&sources(&[("R2D_MQTT_PASSWORD", "hunter2")], &[])).unwrap();
    assert_eq!(loaded.config.mqtt.password.reveal(), "hunter2");
    let shown: Vec<Shown> = loaded.keys().collect();
    let all = format!("{loaded:?}{}", serde_json::to_string(&(&shown, &loaded.config)).unwrap());
    assert!(!all.contains("hunter2"), "{all}");
    assert_eq!(shown.iter().find(|s| s.key == "mqtt.password").unwrap().value_text(), "\"(set)\"");
}

#[test]
fn no_message_gives_a_secret_away() {
    let tries = [
        load_file("[mqtt]\npassword = 5550123", Sources::default()),
        load_file("[mqtt]\npassword = \"5550123", Sources::default()),
        load_file("[mqtt]\nurl = 'mqtt://me:5550123@plant'", Sources::default()),
        Config::load(&sources(&[], &["mqtt.password:5550123"])),
        Config::load(&sources(&[], &["mqtt.password=5550123", "mqtt.password_file=/p"])),
    ];
    for result in tries {
        let errors = result.unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("5550123"), "{errors}");
    }
}

#[test]
fn refusal_sentences_are_merged_by_language() {
    let file = "[refusal.text]\nde = 'Nein.'\npt-BR = 'Não.'\n";
    let loaded =
        load_file(file, sources(&[("R2D_REFUSAL_TEXT_PT_PT", "Nada.")], &["refusal.text.FR=Non."])).unwrap();
    let says = |tag| loaded.config.refusal_sentence(tag);
    assert_eq!([says("de"), says("pt-br"), says("pt-pt"), says("fr")], ["Nein.", "Não.", "Nada.", "Non."]);
    assert_eq!(says("es"), Config::default().refusal.text["es"]);
    let shown = loaded.keys().find(|s| s.key == "refusal.text.pt-br").unwrap();
    assert!(matches!(shown.origin, Origin::File { line: 3, .. }));

    let empty = message(load_file("[refusal.text]\nde = ' '\n", Sources::default()));
    assert!(
        empty.contains(":2: refusal.text.de = \" \": not allowed, wants 1 to 1000 characters"),
        "{empty}"
    );
    let tag = message(load_file("[refusal.text]\nd_e = 'Nein.'\n", Sources::default()));
    assert!(tag.contains("refusal.text.d_e: unknown key"), "{tag}");
    let whole = message(Config::load(&sources(&[("R2D_REFUSAL_TEXT", "No.")], &[])));
    assert!(
        whole.ends_with("hint: name the language: refusal.text.en=TEXT or R2D_REFUSAL_TEXT_EN"),
        "{whole}"
    );
    let quoted = message(load_file("[refusal]\n'text.de' = 'Nein.'\n", Sources::default()));
    assert!(quoted.contains("unknown key"), "{quoted}");
}

#[test]
fn a_profile_sets_neither_itself_nor_a_secret() {
    for table in ["board.profile = 'pi4'", "mqtt.password = 'x'"] {
        let text = message(Config::load(&Sources { board: board(table), ..Sources::default() }));
        assert!(text.contains("not for a board profile"), "{text}");
    }
}

#[test]
fn the_embedded_broker_listens_on_this_machine_only() {
    let text = message(Config::load(&sources(&[], &["mqtt.listen=0.0.0.0:1883"])));
    assert!(text.contains("wants a loopback address and port"), "{text}");
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let cases: [(&[&str], &str); 10] = [
        (&[r#"panel.lines=["/dev/a=x","/dev/b=y","/dev/a=z"]"#], "names /dev/a twice"),
        (
            &["service.outbox_max=100"],
            "service.outbox_max = 100: too few for 18 requests with up to 16 messages each",
        ),
        (&["model.n_batch=4096"], "model.n_batch = 4096: more than model.n_ctx = 2048"),
        (
            &["policy.segment_max_tokens=8"],
            "policy.segment_max_tokens = 8: less than policy.segment_min_tokens = 24",
        ),
        (
            &["model.n_ctx=640"],
            "model.n_ctx = 640: no room for a prompt: 384 tokens of steps + 256 of answer",
        ),
        (
            &["mqtt.max_packet=16384"],
            "service.max_prompt_bytes = 16384: does not fit in mqtt.max_packet = 16384",
        ),
        (
            &["mqtt.password=x", "mqtt.password_file=/p"],
            "mqtt.password_file = \"/p\": mqtt.password is set too",
        ),
        (&["mqtt.client_cert=/c"], "mqtt.client_cert = \"/c\": mqtt.client_key is missing"),
        (&["mqtt.client_key=/k"], "mqtt.client_key = \"/k\": mqtt.client_cert is missing"),
        (&["mqtt.url=mqtt://plant", "mqtt.ca_file=/ca"], "mqtt.ca_file = \"/ca\": mqtt.url is not TLS"),
    ];
    for (sets, expected) in cases {
        let text = message(Config::load(&sources(&[], sets)));
        assert!(text.contains(expected), "{text}");
    }
    assert!(Config::load(&sources(&[], &["model.n_ctx=641"])).is_ok());
    assert!(Config::load(&sources(&[], &["mqtt.url=mqtts://plant", "mqtt.ca_file=/ca"])).is_ok());
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_one_problem() {
    let folder = tempfile::tempdir().unwrap();
    let file = Some(folder.path().join("absent.toml"));
    assert!(message(Config::load(&Sources { file, ..Sources::default() })).contains("cannot be read"));
    let syntax = message(load_file("[model]\nn_ctx = \n", Sources::default()));
    assert!(syntax.contains("config.toml:2: not TOML"), "{syntax}");
    let long = message(load_file(&"#\n".repeat(1 << 20), Sources::default()));
    assert!(long.contains("longer than 1048576 bytes"), "{long}");
}

#[test]
fn an_id_fits_wherever_a_host_name_was_made_into_one() {
    for name in ["raspberrypi", "Press_7", "ü-8.local", &"x".repeat(80)] {
        assert!(device_id(name).is_some_and(|id| Form::Id.fits(&id)), "{name}");
    }
    assert_eq!(device_id("--"), None);
}
