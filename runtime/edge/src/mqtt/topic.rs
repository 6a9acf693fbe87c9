//! Topic names: how ours are built, and how those that arrive are read.
//!
//! Not here: payloads, and which reply topics a client may name (see `reply`).
//!
//! Invariant: every level that comes from outside is an [`Id`], so no name that is built here
//! holds a wildcard, a slash too many, or a `$`.

use r2d_core::id::Id;
use thiserror::Error;

use super::link::{Qos, Subscription};

/// The first two levels of every topic: product and version of the topic tree.
const ROOT: &str = "r2d/v1";
/// Under which decisions arrive, by their request's id.
const DECISION: &str = "review/decision/";

/// Why a text cannot be used in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopicError {
    /// A filter with a wildcard in a wrong place, or empty, or too long.
    #[error(
        "topic filter `{0}` is not valid\nhint: `+` stands alone in its level, `#` alone in the last one"
    )]
    Filter(String),
    /// A filter that starts with `$`, where only ordinary topics are allowed.
    #[error("topic filter `{0}` starts with `$`\nhint: replies go to ordinary topics only")]
    Reserved(String),
}

/// The place of this device in the topic tree: `r2d/v1/{site}/{area}/{line}/{device}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    site: Id,
    prefix: String,
}

/// What this device publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutTopic<'a> {
    /// Online or offline; also the last will.
    Status,
    /// Versions, model and policy.
    Info,
    /// The heartbeat.
    Health,
    /// A part of the answer to a request.
    AnswerChunk(&'a Id),
    /// The whole answer to a request.
    AnswerFinal(&'a Id),
    /// One checked step of a request.
    Step(&'a Id),
    /// Every verdict.
    Verdict,
    /// The last verdict, for displays only.
    VerdictLatest,
    /// The audit record.
    Audit,
    /// A request that waits for a person.
    ReviewPending(&'a Id),
    /// What a person decided on a request.
    ReviewOutcome(&'a Id),
}

/// What this device receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTopic {
    /// A question to this device.
    Ask,
    /// A text to judge.
    Check,
    /// A request to stop.
    Cancel,
    /// A question to any worker of the pool.
    PoolAsk,
    /// A person's decision on a request.
    Decision(Id),
}

impl Base {
    /// The base of a device.
    pub fn new(site: Id, area: &Id, line: &Id, device: &Id) -> Base {
        let prefix = format!("{ROOT}/{site}/{area}/{line}/{device}");
        Base { site, prefix }
    }

    /// The base as a topic prefix, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.prefix
    }

    /// The name of a topic that this device publishes.
    pub fn topic(&self, out: OutTopic<'_>) -> String {
        let base = &self.prefix;
        match out {
            OutTopic::Status => format!("{base}/status"),
            OutTopic::Info => format!("{base}/info"),
            OutTopic::Health => format!("{base}/health"),
            OutTopic::AnswerChunk(request) => format!("{base}/ans/{request}/chunk"),
            OutTopic::AnswerFinal(request) => format!("{base}/ans/{request}/final"),
            OutTopic::Step(request) => format!("{base}/step/{request}"),
            OutTopic::Verdict => format!("{base}/verdict"),
            OutTopic::VerdictLatest => format!("{base}/verdict/latest"),
            OutTopic::Audit => format!("{base}/audit"),
            OutTopic::ReviewPending(request) => format!("{base}/review/pending/{request}"),
            OutTopic::ReviewOutcome(request) => format!("{base}/review/outcome/{request}"),
        }
    }

    /// The subscriptions of this device; `pool` adds the shared one of its workers, `reviews` people's decisions.
    pub fn subscriptions(&self, pool: Option<&Id>, reviews: bool) -> Vec<Subscription> {
        let base = &self.prefix;
        let mut all: Vec<Subscription> = ["req/ask", "req/check", "req/cancel"]
            .iter()
            .map(|tail| Subscription::new(format!("{base}/{tail}")))
            .collect();
        if reviews {
            all.push(Subscription::new(format!("{base}/{DECISION}+")));
        }
        if let Some(pool) = pool {
            all.push(Subscription::new(format!("$share/workers/{}", self.pool_ask(pool))));
        }
        all
    }

    /// What a message on this topic asks for; `None` when the topic is none of ours.
    pub fn parse(&self, topic: &str, pool: Option<&Id>) -> Option<InTopic> {
        if pool.is_some_and(|pool| topic == self.pool_ask(pool)) {
            return Some(InTopic::PoolAsk);
        }
        let tail = topic.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        match tail {
            "req/ask" => Some(InTopic::Ask),
            "req/check" => Some(InTopic::Check),
            "req/cancel" => Some(InTopic::Cancel),
            tail => Id::parse(tail.strip_prefix(DECISION)?).ok().map(InTopic::Decision),
        }
    }

    /// Messages of the shared subscription arrive under this name, without `$share/workers/`.
    fn pool_ask(&self, pool: &Id) -> String {
        format!("{ROOT}/{}/pool/{pool}/req/ask", self.site)
    }
}

impl OutTopic<'_> {
    /// With which quality of service this topic is published.
    pub fn qos(self) -> Qos {
        match self {
            OutTopic::Health | OutTopic::AnswerChunk(_) => Qos::AtMostOnce,
            _ => Qos::AtLeastOnce,
        }
    }

    /// Whether the broker keeps the last message for those who subscribe later.
    ///
    /// Never for `verdict`: a machine must not act on a verdict of unknown age.
    pub fn retain(self) -> bool {
        matches!(self, OutTopic::Status | OutTopic::Info | OutTopic::VerdictLatest)
    }
}

/// Whether a text is a topic a message can be published to.
pub(super) fn is_concrete(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= usize::from(u16::MAX) && !topic.contains(['+', '#', '\0'])
}

/// Whether a text is a topic filter, shared ones included.
pub(super) fn is_filter(filter: &str) -> bool {
    let plain = match filter.strip_prefix("$share/") {
        Some(rest) => match rest.split_once('/') {
            Some((group, plain)) if !group.is_empty() && is_concrete(group) => plain,
            _ => return false,
        },
        None => filter,
    };
    if plain.is_empty() || filter.len() > usize::from(u16::MAX) || plain.contains('\0') {
        return false;
    }
    let mut levels = plain.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && (level.len() > 1 || (level == "#" && levels.peek().is_some())) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    fn base() -> Base {
        Base::new(id("plant"), &id("hall-2"), &id("line_1"), &id("edge7"))
    }

    #[test]
    fn out_topics_have_the_published_names() {
        let (base, request) = (base(), id("q-1"));
        let names = [
            (OutTopic::Status, "status"),
            (OutTopic::Info, "info"),
            (OutTopic::Health, "health"),
            (OutTopic::AnswerChunk(&request), "ans/q-1/chunk"),
            (OutTopic::AnswerFinal(&request), "ans/q-1/final"),
            (OutTopic::Step(&request), "step/q-1"),
            (OutTopic::Verdict, "verdict"),
            (OutTopic::VerdictLatest, "verdict/latest"),
            (OutTopic::Audit, "audit"),
            (OutTopic::ReviewPending(&request), "review/pending/q-1"),
            (OutTopic::ReviewOutcome(&request), "review/outcome/q-1"),
        ];
        for (out, tail) in names {
            assert_eq!(base.topic(out), format!("r2d/v1/plant/hall-2/line_1/edge7/{tail}"));
        }
    }

    #[test]
    fn a_verdict_is_never_retained_and_always_acknowledged() {
        assert!(!OutTopic::Verdict.retain());
        assert_eq!(OutTopic::Verdict.qos(), Qos::AtLeastOnce);
        assert_eq!(OutTopic::Health.qos(), Qos::AtMostOnce);
        assert!(OutTopic::Status.retain());
    }

    #[test]
    fn in_topics_are_read_by_their_tail() {
        let (base, pool) = (base(), id("p"));
        let read = |tail: &str| base.parse(&format!("{}/{tail}", base.as_str()), Some(&pool));
        assert_eq!(read("req/ask"), Some(InTopic::Ask));
        assert_eq!(read("req/check"), Some(InTopic::Check));
        assert_eq!(read("req/cancel"), Some(InTopic::Cancel));
        assert_eq!(read("review/decision/q-1"), Some(InTopic::Decision(id("q-1"))));
        for other in
            ["req/ask/x", "req", "status", "config/desired", "review/decision/", "review/decision/a/b", ""]
        {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(base.parse("r2d/v1/plant/pool/p/req/ask", Some(&pool)), Some(InTopic::PoolAsk));
        assert_eq!(base.parse("r2d/v1/plant/pool/p/req/ask", None), None);
        assert_eq!(base.parse("r2d/v1/other/pool/p/req/ask", Some(&pool)), None);
        assert_eq!(base.parse("r2d/v1/plant/hall-2/line_1/edge77/req/ask", None), None);
    }

    #[test]
    fn no_subscription_wants_what_was_retained_before() {
        let all = base().subscriptions(Some(&id("p")), true);
        assert!(all.iter().all(|s| is_filter(&s.filter) && !s.retained));
        assert!(all.iter().any(|s| s.filter == "$share/workers/r2d/v1/plant/pool/p/req/ask"));
    }

    #[test]
    fn filters_are_checked_level_by_level() {
        for good in ["a", "+", "#", "a/+/b", "a/#", "/", "$share/g/a/#", "$SYS/#"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "a/#/b", "a+", "a/b#", "##", "$share/g", "$share//a", "$share/+/a", "a\0"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn built_names_are_concrete_and_never_read_as_requests(
            site in "[A-Za-z0-9_-]{1,64}", request in "[A-Za-z0-9_-]{1,64}",
        ) {
            let (site, request) = (id(&site), id(&request));
            let base = Base::new(site, &request, &request, &request);
            for out in [OutTopic::Status, OutTopic::AnswerFinal(&request), OutTopic::ReviewOutcome(&request)] {
                let name = base.topic(out);
                prop_assert!(is_concrete(&name));
                prop_assert_eq!(base.parse(&name, Some(&request)), None);
            }
            for subscription in base.subscriptions(Some(&request), true) {
                let arrives = subscription.filter.replace("$share/workers/", "").replace('+', request.as_str());
                prop_assert!(base.parse(&arrives, Some(&request)).is_some(), "{}", arrives);
            }
        }

        #[test]
        fn reading_any_text_never_panics(text in "\\PC{0,120}") {
            let _ = base().parse(&text, Some(&id("p")));
            let _ = is_filter(&text);
        }
    }
}
