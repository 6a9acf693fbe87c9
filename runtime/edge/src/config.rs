//! The configuration: one set of keys, each settable in a file, by environment variable and by flag.
//!
//! Not the use of any value, and no look at the real environment: the caller hands over what it found. Invariant:
//! a [`Config`] that [`Config::load`] returns holds only values that its keys allow, and every value in it can
//! be traced to where it came from.

mod address;
mod choice;
mod example;
mod fault;
mod home;
mod key;
mod layer;
mod nearest;
mod refusal;
mod rule;
mod schema;
mod secret;
#[cfg(test)]
mod tests;

pub use address::BrokerAddress;
pub use choice::{Combine, Depth, KvType, Mode, OnRethink, RefusalKind, Review};
pub use fault::{ConfigErrors, Fault, MAX_PROBLEMS, Origin, Problem};
pub use home::{Lookup, Platform, config_file, host_name, state_home};
pub use layer::{RESERVED_VARIABLES, device_id};
pub use schema::{Board, Config, Device, Model, Mqtt, Policy, Refusal, Service};
pub use secret::{MASK, Secret};

use key::{Allowed, Key, show, variable};
use layer::Reader;
use schema::KEYS;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use toml::{Table, Value};

/// Where values may come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// Environment variables; those without our prefix are ignored.
    pub env: Vec<(OsString, OsString)>,
    /// The arguments of `--set`, each `key=value`.
    pub sets: Vec<String>,
    /// The board's profile, if one is known.
    pub board: Option<BoardDefaults>,
    /// The name of the machine, the default of `device.device`.
    pub host_name: Option<String>,
}

/// The part of a board's profile that sets keys, in the shape of a configuration file.
#[derive(Clone, Debug)]
pub struct BoardDefaults {
    /// Name of the profile.
    pub profile: String,
    /// Its keys.
    pub table: Table,
}

/// A configuration with the origin of each of its values.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    settings: BTreeMap<String, Setting>,
}

/// One key as `config show` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The key.
    pub key: String,
    /// Its value; a secret only as [`MASK`].
    pub value: Value,
    /// Where the value came from.
    pub origin: Origin,
    /// What the key is for.
    pub description: &'static str,
    /// What its number counts; empty when it counts nothing.
    pub unit: &'static str,
    /// The values it takes, for people.
    pub range: String,
    /// The environment variable that sets it.
    pub variable: String,
}

impl Shown {
    /// The value on one line.
    #[must_use]
    pub fn value_text(&self) -> String {
        show(&self.value)
    }
}

#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

impl Config {
    /// Reads all of `sources`: flags win over environment, file, board profile and defaults, in this order.
    ///
    /// `board.profile` says which profile to hand over, so a caller without one loads once, finds the profile and
    /// loads again.
    ///
    /// # Errors
    /// Everything that is wrong in any source, whether or not a stronger source covers it.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let defaults = default_values();
        let mut reader = Reader::new(&defaults);
        if let Some(name) = &sources.host_name {
            reader.host_name(name);
        }
        if let Some(board) = &sources.board {
            reader.board(&board.profile, &board.table);
        }
        if let Some(file) = &sources.file {
            reader.file(file);
        }
        reader.environment(&sources.env);
        reader.sets(&sources.sets);
        let Reader { entries, mut errors, .. } = reader;

        let mut settings: BTreeMap<String, Setting> = defaults
            .iter()
            .map(|(path, value)| (path.clone(), Setting { value: value.clone(), origin: Origin::Default }))
            .collect();
        for entry in entries {
            settings.insert(entry.path, Setting { value: entry.value, origin: entry.origin });
        }
        if !errors.problems.is_empty() {
            return Err(errors);
        }
        let config = assemble(&settings)?;
        for key in KEYS.iter().filter(|key| key.secret) {
            if let Some(setting) = settings.get_mut(key.path) {
                mask(&mut setting.value);
            }
        }
        for broken in rule::broken(&config) {
            let setting = settings.get(broken.path);
            errors.add(Problem {
                key: broken.path.to_owned(),
                value: setting.map(|s| show(&s.value)).unwrap_or_default(),
                origin: setting.map_or(Origin::Default, |s| s.origin.clone()),
                fault: Fault::Conflict(broken.reason),
                allowed: String::new(),
                hint: broken.hint.to_owned(),
            });
        }
        if errors.problems.is_empty() { Ok(Loaded { config, settings }) } else { Err(errors) }
    }

    /// The broker to connect to; `None` means the embedded one at `mqtt.listen`.
    #[must_use]
    pub fn broker(&self) -> Option<BrokerAddress> {
        BrokerAddress::parse(&self.mqtt.url)
    }
}

impl Loaded {
    /// Every key with its value and origin, in the order of the sections.
    pub fn keys(&self) -> impl Iterator<Item = Shown> {
        KEYS.iter().flat_map(|key| self.shown(key))
    }

    fn shown(&self, key: &'static Key) -> Vec<Shown> {
        let below = format!("{}.", key.path);
        let of_key = |path: &str| match key.allowed {
            Allowed::Languages => path.starts_with(&below),
            _ => path == key.path,
        };
        let settings = self.settings.iter().filter(|(path, _)| of_key(path));
        settings
            .map(|(path, setting)| Shown {
                key: path.clone(),
                value: setting.value.clone(),
                origin: setting.origin.clone(),
                description: key.description,
                unit: key.unit,
                range: key.range(),
                variable: variable(path),
            })
            .collect()
    }
}

fn mask(value: &mut Value) {
    if value.as_str() != Some("") {
        *value = Value::from(MASK);
    }
}

/// The default of every key, by its path; a table's entries each on their own.
fn default_values() -> BTreeMap<String, Value> {
    let sections = Table::try_from(Config::default()).unwrap_or_default();
    let mut values = BTreeMap::new();
    for (section, leaves) in sections {
        let Value::Table(leaves) = leaves else { continue };
        for (leaf, value) in leaves {
            let path = format!("{section}.{leaf}");
            match value {
                Value::Table(entries) => {
                    values.extend(entries.into_iter().map(|(name, value)| (format!("{path}.{name}"), value)));
                }
                Value::Float(x) => {
                    values.insert(path, Value::Float(shortest(x)));
                }
                value => {
                    values.insert(path, value);
                }
            }
        }
    }
    values
}

/// `x`, which was an `f32`, without the digits that its way through `f64` added: 0.1, not 0.10000000149.
fn shortest(x: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "the value came from an f32")]
    let narrow = x as f32;
    narrow.to_string().parse().unwrap_or(x)
}

fn assemble(settings: &BTreeMap<String, Setting>) -> Result<Config, ConfigErrors> {
    let mut table = Table::new();
    for (path, setting) in settings {
        insert(&mut table, path, setting.value.clone());
    }
    // Values were checked one by one; what fails here is a key whose range its field cannot hold.
    table.try_into().map_err(|e: toml::de::Error| {
        let mut errors = ConfigErrors::default();
        errors.add(Problem {
            key: String::new(),
            value: String::new(),
            origin: Origin::Default,
            fault: Fault::Conflict(e.message().to_owned()),
            allowed: String::new(),
            hint: "this is a fault of r2d-edge, please report it".to_owned(),
        });
        errors
    })
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            if let Value::Table(inner) = table.entry(name).or_insert_with(|| Value::Table(Table::new())) {
                insert(inner, rest, value);
            }
        }
    }
}
