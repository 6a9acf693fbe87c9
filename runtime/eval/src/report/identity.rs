//! What exactly was measured: weights, policy, suites, seed and version, so that the run can be made again.

use super::content::Facts;
use super::figure::whole;
use super::visible::{MAX_NAME, line};
use super::words;
use crate::run::Header;
use r2d_core::request::Task;

/// The head of the report, in words.
pub(super) fn at_a_glance(header: &Header) -> Facts {
    let mut facts = Facts::new("What was measured");
    facts.words("Model", line(&header.weights.model, MAX_NAME));
    let adapter = match &header.weights.adapter_sha256 {
        Some(sha256) => format!("one, {}…", sha256.chars().take(12).collect::<String>()),
        None => "none: the model's own weights".to_owned(),
    };
    facts.words("Adapter", adapter);
    if header.guarded {
        facts.words("Policy", words::policy(&header.policy));
    } else {
        facts.words("Policy", "none: the model answered alone, for comparison.");
    }
    facts.words("Run", words::run(header));
    let taken = header.suites.iter().map(|s| format!("{} ({})", line(&s.title, MAX_NAME), whole(s.n_items)));
    facts.words(
        "Suites",
        match header.suites.as_slice() {
            [] => "none".to_owned(),
            _ => taken.collect::<Vec<_>>().join(", "),
        },
    );
    if !header.wrappers.is_empty() {
        let forms: Vec<String> = header.wrappers.iter().map(|w| line(w, MAX_NAME)).collect();
        let forms = forms.join(", ");
        facts.words("Attack forms", format!("{forms}: each labelled request was asked in these forms too"));
    }
    facts
}

/// The run's identity, letter by letter.
pub(super) fn run(header: &Header) -> Facts {
    let mut facts = Facts::new("The run");
    facts.words("Model", header.weights.model.as_str());
    facts.literal("Model SHA-256", header.weights.model_sha256.as_str());
    match &header.weights.adapter_sha256 {
        Some(sha256) => facts.literal("Adapter SHA-256", sha256.as_str()),
        None => facts.words("Adapter", "none"),
    }
    facts.literal("Program", format!("r2d-edge {}", header.version));
    facts.literal(
        "Task",
        match header.task {
            Task::Ask => "ask",
            Task::Check => "check",
        },
    );
    facts.literal("Guarded", if header.guarded { "true" } else { "false" });
    facts.literal("Seed", header.seed.to_string());
    facts.literal("Limit", header.limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string()));
    facts.literal("Side by side", header.n_slots.to_string());
    let wrappers = if header.wrappers.is_empty() { "none".to_owned() } else { header.wrappers.join(", ") };
    facts.literal("Wrappers", wrappers);
    match header.system.as_str() {
        "" => facts.words("System prompt", "none"),
        system => facts.literal("System prompt", system),
    }
    facts.literal("Fixed refusal", header.refusal.as_str());
    facts
}

/// The identity of each suite.
pub(super) fn suites(header: &Header) -> Vec<Facts> {
    let of = |suite: &crate::run::SuiteInfo| {
        let mut facts = Facts::new(suite.title.as_str());
        facts.literal("Name", suite.name.as_str());
        facts.literal("SHA-256", suite.sha256.as_str());
        facts.words("Origin", suite.origin.as_str());
        facts.words("Licence", suite.licence.as_str());
        facts.words("Items", format!("{} of {}", whole(suite.n_items), whole(suite.n_available)));
        facts
    };
    header.suites.iter().map(of).collect()
}

/// The policy as it would stand in a configuration file.
pub(super) fn policy(header: &Header) -> String {
    // Plain fields always serialise; an empty table is what is left to show if that ever changes.
    format!("[policy]\n{}", toml::to_string(&header.policy).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn the_policy_is_shown_as_it_is_written() {
        let text = policy(&fixture::summary().header);
        assert!(text.starts_with("[policy]\ndepth = \"full\"\n"), "{text}");
        assert!(text.contains("unsafe_at = 0.47\n"), "{text}");
    }

    #[test]
    fn the_identity_names_weights_seed_and_version() {
        let header = fixture::summary().header;
        let shown = format!("{:?}{:?}", run(&header), suites(&header));
        for wanted in [&header.weights.model_sha256, &header.version, &header.suites[0].sha256] {
            assert!(shown.contains(wanted.as_str()), "{wanted}");
        }
        assert!(shown.contains(&header.suites[0].licence) && shown.contains(&header.suites[0].origin));
    }
}
