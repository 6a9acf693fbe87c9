//! Which response topics a client may name.
//!
//! Not an access list of the broker: it only bounds where this device lets itself be sent. The
//! response topic is chosen by whoever sends a request, so it is untrusted text.
//!
//! Invariant: nothing is allowed that is not a concrete topic matched by a configured filter; never
//! a `$` topic, never a topic of ours or of another such device (a forged verdict, or a loop of requests).

use super::topic::{Base, TopicError, is_concrete, is_filter};

/// The filters of the configuration, and the base that is never a reply.
#[derive(Debug, Clone)]
pub struct ReplyAllowList {
    filters: Vec<String>,
    own: String,
}

impl ReplyAllowList {
    /// A list of filters with `+` and `#`; an empty one allows nothing.
    ///
    /// # Errors
    /// [`TopicError`] for a filter that is not valid or starts with `$`.
    pub fn new(base: &Base, filters: Vec<String>) -> Result<ReplyAllowList, TopicError> {
        for filter in &filters {
            if filter.starts_with('$') {
                return Err(TopicError::Reserved(filter.clone()));
            }
            if !is_filter(filter) {
                return Err(TopicError::Filter(filter.clone()));
            }
        }
        Ok(ReplyAllowList { filters, own: base.as_str().to_owned() })
    }

    /// Whether a reply may go to this topic.
    pub fn allows(&self, topic: &str) -> bool {
        is_concrete(topic)
            && !topic.starts_with('$')
            && !self.is_own(topic)
            && !is_of_a_device(topic)
            && self.filters.iter().any(|filter| matches_filter(filter, topic))
    }

    fn is_own(&self, topic: &str) -> bool {
        topic.strip_prefix(&self.own).is_some_and(|tail| tail.is_empty() || tail.starts_with('/'))
    }
}

/// A topic that any device or pool speaks or hears on: there an answer would pass for the device's own word, or be asked
/// again.
fn is_of_a_device(topic: &str) -> bool {
    const LEVELS: [&str; 9] =
        ["req", "step", "ans", "verdict", "audit", "review", "status", "info", "health"];
    topic.starts_with("r2d/") && topic.split('/').any(|level| LEVELS.contains(&level))
}

/// MQTT matching of a checked filter against a concrete topic.
fn matches_filter(filter: &str, topic: &str) -> bool {
    let (mut wanted, mut found) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            // `a/#` matches `a` itself too.
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(other)) if level == other => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(filters: &[&str]) -> Result<ReplyAllowList, TopicError> {
        let id = |text: &str| text.parse().unwrap();
        let base = Base::new(id("s"), &id("a"), &id("l"), &id("d"));
        ReplyAllowList::new(&base, filters.iter().map(|f| (*f).to_owned()).collect())
    }

    #[test]
    fn wildcards_match_as_mqtt_says() {
        let cases = [
            ("mes/+/reply", "mes/7/reply", true),
            ("mes/+/reply", "mes/7/8/reply", false),
            ("mes/#", "mes", true),
            ("mes/#", "mes/a/b", true),
            ("mes/#", "mess", false),
            ("+", "mes", true),
            ("+", "mes/a", false),
            ("mes/+", "mes/", true),
            ("mes", "mes/", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(list(&[filter]).unwrap().allows(topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn own_reserved_request_and_wildcard_topics_are_refused_even_under_a_wide_filter() {
        let list = list(&["#"]).unwrap();
        for topic in [
            "",
            "$SYS/broker",
            "$share/g/t",
            "mes/+",
            "mes/#",
            "a\0b",
            "r2d/v1/s/a/l/d",
            "r2d/v1/s/a/l/d/verdict",
            "r2d/v1/s/a/l/d/req/ask",
            "r2d/v1/s/pool/p/req/ask",
            "r2d/v1/other/a/l/x/req/check",
            "r2d/v1/other/a/l/x/verdict/latest",
            "r2d/v1/other/a/l/x/audit",
        ] {
            assert!(!list.allows(topic), "{topic}");
        }
        assert!(list.allows("mes/7/reply"));
        assert!(list.allows("r2d/v1/s/a/l/dd/inbox"));
    }

    #[test]
    fn bad_filters_are_refused_and_an_empty_list_allows_nothing() {
        assert_eq!(list(&["a/#/b"]).unwrap_err(), TopicError::Filter("a/#/b".into()));
        assert_eq!(list(&["$share/g/a"]).unwrap_err(), TopicError::Reserved("$share/g/a".into()));
        assert!(!list(&[]).unwrap().allows("mes/7"));
    }

    proptest! {
        #[test]
        fn a_concrete_filter_allows_only_itself(filter in "[a-c/]{1,6}", topic in "[a-c/]{1,6}") {
            prop_assert_eq!(list(&[&filter]).unwrap().allows(&topic), filter == topic);
        }

        #[test]
        fn plus_for_any_level_still_matches(levels in proptest::collection::vec("[a-z0-9]{0,4}", 1..6), at in 0usize..6) {
            let topic = levels.join("/");
            prop_assume!(!topic.is_empty());
            let mut wild = levels.clone();
            let at = at % wild.len();
            wild[at] = "+".into();
            prop_assert!(matches_filter(&wild.join("/"), &topic));
            wild.truncate(at);
            wild.push("#".into());
            prop_assert!(matches_filter(&wild.join("/"), &topic));
        }

        #[test]
        fn what_is_allowed_is_concrete_and_not_reserved(topic in "[$+#ar2dv1/eq\\PC]{0,20}") {
            if list(&["#"]).unwrap().allows(&topic) {
                prop_assert!(!topic.contains(['+', '#', '\0']) && !topic.starts_with('$'));
            }
        }
    }
}
