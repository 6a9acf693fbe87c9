//! Rules that tie keys together.
//!
//! Not the range of a single key (see `schema`). Invariant: a rule names the key to change and what stands
//! against it, and never shows a secret.

use super::{BrokerAddress, Config};
use crate::serial::parse_line;

/// A rule that a configuration breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The key to change.
    pub(super) path: &'static str,
    /// What stands against it.
    pub(super) reason: String,
    /// How to put it right.
    pub(super) hint: &'static str,
}

/// Every rule that `config` breaks.
pub(super) fn broken(config: &Config) -> Vec<Broken> {
    [budgets(config), connection(config), panels(config)].into_iter().flatten().collect()
}

fn panels(config: &Config) -> Vec<Broken> {
    let devices = || config.panel.lines.iter().filter_map(|line| Some(parse_line(line)?.0));
    let twice = devices().enumerate().find(|(i, device)| devices().take(*i).any(|other| other == *device));
    let broken = twice.map(|(_, device)| Broken {
        path: "panel.lines",
        reason: format!("names {device} twice"),
        hint: "a device has one panel: give each station a line of its own",
    });
    broken.into_iter().collect()
}

fn budgets(config: &Config) -> Vec<Broken> {
    let (model, policy) = (&config.model, &config.policy);
    let mut broken = Vec::new();
    let mut add = |path, reason, hint| broken.push(Broken { path, reason, hint });
    if model.n_batch > model.n_ctx {
        let reason = format!("more than model.n_ctx = {}", model.n_ctx);
        add("model.n_batch", reason, "a decode cannot be longer than the context");
    }
    if policy.segment_max_tokens < policy.segment_min_tokens {
        let reason = format!("less than policy.segment_min_tokens = {}", policy.segment_min_tokens);
        add("policy.segment_max_tokens", reason, "raise it, or lower policy.segment_min_tokens");
    }
    let reasoning = u32::from(policy.max_steps) * u32::from(policy.max_step_tokens);
    let spent = reasoning + u32::from(policy.max_answer_tokens);
    if spent >= model.n_ctx {
        let reason = format!(
            "no room for a prompt: {reasoning} tokens of steps + {} of answer",
            policy.max_answer_tokens
        );
        let hint = "raise it, or lower policy.max_steps, policy.max_step_tokens or policy.max_answer_tokens";
        add("model.n_ctx", reason, hint);
    }
    // Room for the messages of every request in hand: each step, answer, verdicts, audit, reply and some slack.
    let rows_each = u32::from(policy.max_steps) + u32::from(policy.second_looks) + 8;
    let in_hand = u32::from(config.service.queue) + u32::from(model.parallel) + 1;
    if config.service.outbox_max < rows_each.saturating_mul(in_hand) {
        let reason = format!("too few for {in_hand} requests with up to {rows_each} messages each");
        add("service.outbox_max", reason, "raise it, or lower service.queue");
    }
    if config.service.max_prompt_bytes >= config.mqtt.max_packet {
        let reason = format!("does not fit in mqtt.max_packet = {}", config.mqtt.max_packet);
        add("service.max_prompt_bytes", reason, "lower it, or raise mqtt.max_packet");
    }
    broken
}

fn connection(config: &Config) -> Vec<Broken> {
    let mqtt = &config.mqtt;
    let mut broken = Vec::new();
    let mut add = |path, reason: &str, hint| broken.push(Broken { path, reason: reason.to_owned(), hint });
    if !mqtt.password.is_empty() && !mqtt.password_file.is_empty() {
        add("mqtt.password_file", "mqtt.password is set too", "keep one of the two, better the file");
    }
    match (mqtt.client_cert.is_empty(), mqtt.client_key.is_empty()) {
        (false, true) => add("mqtt.client_cert", "mqtt.client_key is missing", "set both or neither"),
        (true, false) => add("mqtt.client_key", "mqtt.client_cert is missing", "set both or neither"),
        _ => {}
    }
    let plain = BrokerAddress::parse(&mqtt.url).is_some_and(|address| !address.tls);
    let certificates = [("mqtt.ca_file", &mqtt.ca_file), ("mqtt.client_cert", &mqtt.client_cert)];
    for (path, file) in certificates {
        // Otherwise someone who set up TLS would be talking in clear text without a word.
        if plain && !file.is_empty() {
            add(path, "mqtt.url is not TLS", "write the url with mqtts://");
        }
    }
    broken
}
