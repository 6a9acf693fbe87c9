//! The sources of values, read one after the other, weakest first.
//!
//! Not the choice between them (see `Config::load`). Invariant: every entry is a known key with a value that the
//! key allows; whatever else a source holds becomes a problem, and reading goes on so that all are reported.

use super::fault::{ConfigErrors, Fault, Origin, Problem};
use super::key::{Allowed, Form, Key, show, variable};
use super::nearest::{nearest_key, nearest_section, nearest_variable};
use super::schema::{KEYS, SECTIONS};
use super::secret::MASK;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Variables with our prefix that are no keys: they say where the rest is.
pub const RESERVED_VARIABLES: [&str; 3] = ["R2D_HOME", "R2D_CONFIG", "R2D_LOG"];

/// Longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
const LIST_HINT: &str = "`r2d-edge config show` lists all keys";

/// A value that one source gives to one key.
#[derive(Debug)]
pub(super) struct Entry {
    /// Path of the key, for a table's entry with its name.
    pub(super) path: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A known place for a value.
struct Place {
    key: &'static Key,
    path: String,
    allowed: Allowed,
}

impl Place {
    fn of_key(key: &'static Key) -> Self {
        Self { key, path: key.path.to_owned(), allowed: key.allowed }
    }

    fn of_language(key: &'static Key, tag: &str) -> Option<Self> {
        // Tags do not tell case apart; one spelling keeps a sentence from being there twice.
        let tag = tag.to_ascii_lowercase();
        let path = format!("{}.{tag}", key.path);
        Form::Language.fits(&tag).then_some(Self { key, path, allowed: Allowed::Text(Form::Sentence) })
    }

    fn find(path: &str) -> Option<Self> {
        KEYS.iter().find_map(|key| match (path.strip_prefix(key.path)?, key.allowed) {
            ("", _) => Some(Self::of_key(key)),
            (rest, Allowed::Languages) => Self::of_language(key, rest.strip_prefix('.')?),
            _ => None,
        })
    }

    fn find_variable(name: &str) -> Option<Self> {
        KEYS.iter().find_map(|key| match (name.strip_prefix(&variable(key.path))?, key.allowed) {
            ("", _) => Some(Self::of_key(key)),
            (rest, Allowed::Languages) => Self::of_language(key, &rest.strip_prefix('_')?.replace('_', "-")),
            _ => None,
        })
    }
}

/// Reads sources into entries and problems.
pub(super) struct Reader<'a> {
    pub(super) entries: Vec<Entry>,
    pub(super) errors: ConfigErrors,
    defaults: &'a BTreeMap<String, Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(defaults: &'a BTreeMap<String, Value>) -> Self {
        Self { entries: Vec::new(), errors: ConfigErrors::default(), defaults }
    }

    /// The name of the machine, as far as it makes an id.
    pub(super) fn host_name(&mut self, name: &str) {
        if let (Some(id), Some(place)) = (device_id(name), Place::find("device.device")) {
            self.judge(&place, place.allowed.check(Value::from(id)), &Value::from(name), Origin::HostName);
        }
    }

    /// The defaults of a board.
    pub(super) fn board(&mut self, profile: &str, table: &Table) {
        let origin = Origin::Board { profile: profile.to_owned() };
        self.table(table, &|_| origin.clone());
    }

    /// The configuration file.
    pub(super) fn file(&mut self, path: &Path) {
        let whole_file = Origin::File { path: path.to_owned(), line: 0 };
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(reason) => {
                let hint = "name another with --config or R2D_CONFIG, or run without a file".to_owned();
                return self.problem("", "", whole_file, Fault::Unreadable(reason), hint);
            }
        };
        let (lines, table) = match (DeTable::parse(&text), text.parse::<Table>()) {
            (Ok(spans), Ok(table)) => (lines_of(&text, spans.get_ref()), table),
            (Err(e), _) | (_, Err(e)) => {
                // Only the message and the line: the error's own rendering quotes the text, perhaps a password.
                let line = e.span().map_or(0, |span| line_at(&text, span.start));
                let origin = Origin::File { path: path.to_owned(), line };
                let hint =
                    "write `name = value` lines under [section] headers; texts in \"quotes\"".to_owned();
                return self.problem("", "", origin, Fault::Syntax(e.message().to_owned()), hint);
            }
        };
        self.table(&table, &|key| Origin::File {
            path: path.to_owned(),
            line: lines.get(key).copied().unwrap_or(0),
        });
    }

    /// The environment variables with our prefix.
    pub(super) fn environment(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with("R2D_") || RESERVED_VARIABLES.contains(&name.as_ref()) {
                continue;
            }
            let origin = Origin::Environment { variable: name.clone().into_owned() };
            let Some(place) = Place::find_variable(&name) else {
                let hint = nearest_variable(&name)
                    .map_or_else(|| LIST_HINT.to_owned(), |near| format!("did you mean {near}?"));
                self.problem(&name, "", origin, Fault::UnknownKey, hint);
                continue;
            };
            match value.to_str() {
                Some(text) => self.judge(&place, place.allowed.read(text), &Value::from(text), origin),
                None => self.judge(&place, Err(Fault::Encoding), &Value::from(""), origin),
            }
        }
    }

    /// The arguments of `--set`; of two for one key the last holds.
    pub(super) fn sets(&mut self, sets: &[String]) {
        for set in sets {
            match set.split_once('=') {
                None => {
                    // Only what may be a key is said back: the rest may be a secret behind a wrong separator.
                    let end =
                        set.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
                    let set = &set[..end.unwrap_or(set.len())];
                    let near = nearest_key(set).unwrap_or("model.n_ctx");
                    let hint = format!("write --set {near}=VALUE");
                    self.problem(set, "", Origin::Flag, Fault::NoValue, hint);
                }
                Some((path, text)) => match Place::find(path.trim()) {
                    Some(place) => {
                        self.judge(&place, place.allowed.read(text), &Value::from(text), Origin::Flag);
                    }
                    None => self.unknown_key(path, Origin::Flag),
                },
            }
        }
    }

    fn table(&mut self, table: &Table, origin: &dyn Fn(&str) -> Origin) {
        for (section, content) in table {
            let known = SECTIONS.iter().any(|(name, _)| name == section);
            match content.as_table() {
                Some(leaves) if known => self.section(section, leaves, origin),
                Some(_) => {
                    let hint = nearest_section(section)
                        .map_or_else(|| LIST_HINT.to_owned(), |near| format!("did you mean [{near}]?"));
                    self.problem(&format!("[{section}]"), "", origin(section), Fault::UnknownKey, hint);
                }
                None if known => {
                    let hint = format!("write [{section}] and its keys below");
                    self.problem(section, "", origin(section), Fault::Type { wanted: "a table" }, hint);
                }
                None => self.unknown_key(section, origin(section)),
            }
        }
    }

    fn section(&mut self, section: &str, leaves: &Table, origin: &dyn Fn(&str) -> Origin) {
        for (leaf, value) in leaves {
            // A quoted key such as "text.de" must not pass for the table's entry.
            let path = format!("{section}.{leaf}");
            let Some(place) = KEYS.iter().find(|key| key.path == path).map(Place::of_key) else {
                self.unknown_key(&path, origin(&path));
                continue;
            };
            match (place.allowed, value) {
                (Allowed::Languages, Value::Table(sentences)) => {
                    for (tag, sentence) in sentences {
                        let path = format!("{path}.{tag}");
                        match Place::of_language(place.key, tag) {
                            Some(place) => self.checked(&place, sentence, origin(&path)),
                            None => self.unknown_key(&path, origin(&path)),
                        }
                    }
                }
                _ => self.checked(&place, value, origin(&path)),
            }
        }
    }

    fn checked(&mut self, place: &Place, value: &Value, origin: Origin) {
        // A profile is found by this key, so one that set it would choose itself.
        let result = match &origin {
            Origin::Board { .. } if place.key.secret || place.key.section() == "board" => {
                Err(Fault::NotForBoard)
            }
            _ => place.allowed.check(value.clone()),
        };
        self.judge(place, result, value, origin);
    }

    fn judge(&mut self, place: &Place, result: Result<Value, Fault>, written: &Value, origin: Origin) {
        let fault = match result {
            Ok(value) => return self.entries.push(Entry { path: place.path.clone(), value, origin }),
            Err(fault) => fault,
        };
        let default = self.defaults.get(&place.path).map(|d| format!(" The default is {}.", show(d)));
        let hint = match place.allowed {
            Allowed::Languages => {
                format!("name the language: {0}.en=TEXT or {1}_EN", place.path, variable(&place.path))
            }
            _ => format!("{}{}", place.key.description, default.unwrap_or_default()),
        };
        let value = match written {
            _ if place.key.secret => MASK.to_owned(),
            // What is not an address may hold a user and a password.
            Value::String(text)
                if text.contains('@') && matches!(place.allowed, Allowed::Text(Form::Broker)) =>
            {
                MASK.to_owned()
            }
            written => show(written),
        };
        let allowed = match place.allowed {
            Allowed::Text(Form::Sentence) => Form::Sentence.to_string(),
            _ => place.key.range(),
        };
        let problem = Problem { key: place.path.clone(), value, origin, fault, allowed, hint };
        self.errors.add(problem);
    }

    fn unknown_key(&mut self, path: &str, origin: Origin) {
        let hint =
            nearest_key(path).map_or_else(|| LIST_HINT.to_owned(), |near| format!("did you mean {near}?"));
        self.problem(path, "", origin, Fault::UnknownKey, hint);
    }

    fn problem(&mut self, key: &str, value: &str, origin: Origin, fault: Fault, hint: String) {
        let value = value.to_owned();
        let key = key.escape_debug().take(120).collect();
        self.errors.add(Problem { key, value, origin, fault, allowed: String::new(), hint });
    }
}

/// The id that a machine's name makes: its first label, what an id cannot hold replaced by `-`.
#[must_use]
pub fn device_id(host_name: &str) -> Option<String> {
    let label = host_name.split('.').next().unwrap_or_default();
    let id: String =
        label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(64).collect();
    let id = id.trim_matches('-');
    (!id.is_empty()).then(|| id.to_owned())
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("longer than {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

/// The line of each key, by its path.
fn lines_of(text: &str, table: &DeTable<'_>) -> BTreeMap<String, usize> {
    fn walk(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
        for (name, value) in table {
            let path = match prefix {
                "" => name.get_ref().to_string(),
                prefix => format!("{prefix}.{}", name.get_ref()),
            };
            if let DeValue::Table(inner) = value.get_ref() {
                walk(text, &path, inner, lines);
            }
            lines.insert(path, line_at(text, name.span().start));
        }
    }
    let mut lines = BTreeMap::new();
    walk(text, "", table, &mut lines);
    lines
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}
