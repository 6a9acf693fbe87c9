//! The example configuration: every key, commented out, with all there is to know about it.
//!
//! Not a file that someone keeps up to date: it is rendered from the schema. Invariant: as it stands it sets
//! nothing; with the `#` before each `name = value` removed it sets every key to its default.

use super::key::{Allowed, variable};
use super::schema::{KEYS, SECTIONS};
use super::{Config, default_values};

const HEAD: &str = "\
# Configuration of r2d-edge.
#
# Every key can also be set by an environment variable (its section and name in capitals, joined by _, after R2D_:
# mqtt.url is R2D_MQTT_URL) and by the flag --set section.name=value.
# A flag wins over the environment, that over this file, that over the board's profile, that over the default.
";

impl Config {
    /// A configuration file in which every key stands commented out with its default.
    #[must_use]
    pub fn example() -> String {
        let mut text = HEAD.to_owned();
        for (section, description) in SECTIONS {
            for key in KEYS.iter().filter(|key| key.section() == *section) {
                let is_table = matches!(key.allowed, Allowed::Languages);
                let header = if is_table { key.path } else { *section };
                if is_table
                    || KEYS.iter().find(|k| k.section() == *section).is_some_and(|k| k.path == key.path)
                {
                    put(&mut text, format_args!("\n# {description}\n[{header}]\n"));
                }
                put(&mut text, format_args!("\n# {}\n# {}", key.description, key.range()));
                let defaults = default_values();
                let below = format!("{}.", key.path);
                if is_table {
                    put(&mut text, format_args!("; {}_EN and so on\n", variable(key.path)));
                    for (path, value) in defaults.iter().filter(|(path, _)| path.starts_with(&below)) {
                        put(&mut text, format_args!("#{} = {value}\n", &path[below.len()..]));
                    }
                } else if let Some(value) = defaults.get(key.path) {
                    put(&mut text, format_args!("; default {value}; {}\n", variable(key.path)));
                    put(&mut text, format_args!("#{} = {value}\n", key.leaf()));
                }
            }
        }
        text
    }
}

fn put(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.push_str(&piece.to_string());
}
