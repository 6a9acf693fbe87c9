//! The known name that a misspelt one probably means.
//!
//! Not a correction: a near name is only ever a hint. Invariant: what is returned is a name that exists.

use super::key::variable;
use super::schema::{KEYS, SECTIONS};
use strsim::normalized_damerau_levenshtein as likeness;

/// Below this likeness a hint would be a guess.
const LIKE: f64 = 0.5;

/// The key nearest to `written`, which may lack its section.
#[must_use]
pub(super) fn nearest_key(written: &str) -> Option<&'static str> {
    let written = written.to_ascii_lowercase();
    best(KEYS.iter().map(|key| {
        let score = match written.split_once('.') {
            // The right name in the wrong section is the likeliest slip of all.
            Some((_, leaf)) if leaf == key.leaf() => 0.9 + likeness(&written, key.path) / 10.0,
            Some((section, leaf)) => likeness(section, key.section()).min(likeness(leaf, key.leaf())),
            None => likeness(&written, key.leaf()),
        };
        (key.path, score)
    }))
}

/// The section nearest to `written`.
#[must_use]
pub(super) fn nearest_section(written: &str) -> Option<&'static str> {
    best(SECTIONS.iter().map(|(name, _)| (*name, likeness(&written.to_ascii_lowercase(), name))))
}

/// The environment variable nearest to `written`.
#[must_use]
pub(super) fn nearest_variable(written: &str) -> Option<String> {
    let name = |path: &'static str| (path, likeness(written, &variable(path)));
    best(KEYS.iter().map(|key| name(key.path))).map(variable)
}

fn best(scored: impl Iterator<Item = (&'static str, f64)>) -> Option<&'static str> {
    scored.filter(|(_, score)| *score >= LIKE).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_lead_to_the_key_that_was_meant() {
        let slips = [
            ("model.nctx", Some("model.n_ctx")),
            ("modle.n_ctx", Some("model.n_ctx")),
            ("policy.n_ctx", Some("model.n_ctx")),
            ("n_ctx", Some("model.n_ctx")),
            ("mqtt.passwd", Some("mqtt.password")),
            ("POLICY.DEPTH", Some("policy.depth")),
            ("model.zzzzzzz", None),
            ("zzzzzzzzzzz", None),
        ];
        for (written, meant) in slips {
            assert_eq!(nearest_key(written), meant, "{written}");
        }
        assert_eq!(nearest_section("polcy"), Some("policy"));
        assert_eq!(nearest_variable("R2D_MQTT_ULR").as_deref(), Some("R2D_MQTT_URL"));
    }
}
