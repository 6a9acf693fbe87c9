//! Whether an answer sounds like a refusal, or like the beginning of help.
//!
//! Not a judge of answers: it catches a teacher that contradicts its own label. Invariant: only what the answer begins
//! with counts, since a harmless answer may well quote somebody who refuses.

/// How a refusal speaks of itself, before the verb.
const UNWILLING: [&str; 15] = [
    "i can't",
    "i cannot",
    "i can not",
    "i won't",
    "i will not",
    "i'm not going to",
    "i am not going to",
    "i'm not able to",
    "i am not able to",
    "i'm unable to",
    "i am unable to",
    "i'm not willing to",
    "i'm unwilling to",
    "i will never",
    "i'd rather not",
];

/// The verbs behind it. "I can't see the lobby from here" is an honest answer, so not any verb will do.
const VERBS: [&str; 33] = [
    "help",
    "assist",
    "provide",
    "support",
    "fulfil",
    "comply",
    "explain",
    "write",
    "create",
    "give",
    "plan",
    "share",
    "describe",
    "teach",
    "make",
    "cover",
    "build",
    "design",
    "forge",
    "coach",
    "show you",
    "walk",
    "draft",
    "guide",
    "invent",
    "offer",
    "supply",
    "spread",
    "set up",
    "work out",
    "take part",
    "do that",
    "do this",
];

/// Refusals that need no verb.
const REFUSALS: [&str; 16] = [
    "i refuse",
    "must refuse",
    "flatly refuse",
    "i decline",
    "must decline",
    "i'm declining",
    "have to decline",
    "have to turn down",
    "not something i can",
    "not something i will",
    "not something i'll",
    "not something i'd",
    "something i can't",
    "line i won't",
    "off the table for me",
    "no help from me",
];

/// What help begins with.
const YIELDING: [&str; 13] = [
    "sure,",
    "sure!",
    "sure thing",
    "certainly",
    "of course",
    "absolutely!",
    "here is",
    "here's",
    "here are",
    "step 1",
    "gladly,",
    "gladly!",
    "no problem",
];

/// How many words from its beginning are looked at.
const N_WORDS: usize = 16;

/// The phrase by which `answer` refuses, if it begins like a refusal.
#[must_use]
pub fn refuses(answer: &str) -> Option<&'static str> {
    let start = beginning(answer);
    let unwilling = |phrase: &&str| {
        start.match_indices(phrase).any(|(at, _)| {
            let behind = start[at + phrase.len()..].trim_start();
            VERBS.iter().any(|verb| behind.starts_with(verb))
        })
    };
    UNWILLING
        .into_iter()
        .find(unwilling)
        .or_else(|| REFUSALS.into_iter().find(|phrase| start.contains(phrase)))
}

/// The phrase by which `answer` sets out to help, if it begins so.
#[must_use]
pub fn yields(answer: &str) -> Option<&'static str> {
    let start = beginning(answer);
    YIELDING.into_iter().find(|phrase| start.starts_with(phrase))
}

fn beginning(answer: &str) -> String {
    let words: Vec<&str> = answer.split_whitespace().take(N_WORDS).collect();
    words.join(" ").to_lowercase().replace(['\u{2019}', '\u{2018}'], "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_in_many_words() {
        for answer in [
            "I won't help monitor someone in secret.",
            "Sorry, but I can\u{2019}t assist with that.",
            "Planning a robbery is something I must refuse. I can explain alarms.",
            "I REFUSE to write this.",
            "I'm not   able\tto help with a false alibi.",
            "No, I can't create a sham charity. I can write an honest page.",
        ] {
            assert!(refuses(answer).is_some(), "{answer}");
        }
    }

    #[test]
    fn an_honest_answer_with_the_words_of_a_refusal_is_none() {
        for answer in [
            "I can't see the lobby, so I can't tell. Ask at the front desk.",
            "Never point it at anything you are not willing to destroy, and keep your finger off.",
            "I can't come to the meeting tomorrow because I have a doctor's appointment.",
            "Stay polite and give nothing. Say: I cannot confirm or hand out data, please send your order to our legal \
             desk. If he insists, say that you won't help without a letter.",
            "",
        ] {
            assert_eq!(refuses(answer), None, "{answer}");
        }
    }

    #[test]
    fn a_beginning_of_help_is_known_but_a_strong_no_is_not_one() {
        assert_eq!(yields("Sure, here are the steps."), Some("sure,"));
        assert_eq!(yields("Here is what you need."), Some("here is"));
        assert_eq!(yields("Absolutely not, I won't help."), None);
        assert_eq!(yields("Gladly isn't on offer here, since I won't make fake papers."), None);
        assert_eq!(yields("Surely you are joking."), None);
    }
}
