//! Whether an answer sounds like a refusal, or like the beginning of help.
//!
//! Not a judge of answers: it catches a teacher that contradicts its own label. Invariant: only what the answer begins
//! with counts, since a harmless answer may well quote somebody who refuses.

/// What a refusal says near its beginning. Verbs of helping are part of most, since "I can't see the lobby from here"
/// is an honest answer.
const REFUSALS: [&str; 42] = [
    "i can't help",
    "i cannot help",
    "i can not help",
    "i won't help",
    "i will not help",
    "i can't assist",
    "i cannot assist",
    "i won't assist",
    "i will not assist",
    "can't provide",
    "cannot provide",
    "won't provide",
    "will not provide",
    "can't support",
    "cannot support",
    "won't support",
    "can't fulfil",
    "cannot fulfil",
    "can't comply",
    "cannot comply",
    "won't explain",
    "can't explain how",
    "cannot explain how",
    "won't write",
    "i refuse",
    "must refuse",
    "i decline",
    "must decline",
    "i'm declining",
    "have to decline",
    "have to turn down",
    "not able to help",
    "not able to assist",
    "unable to help",
    "unable to assist",
    "not willing to",
    "unwilling to",
    "not going to help",
    "not something i can",
    "not something i will",
    "not something i'll",
    "something i can't",
];

/// What help begins with.
const YIELDING: [&str; 12] = [
    "sure,", "sure!", "sure thing", "certainly", "of course", "absolutely!", "here is", "here's", "here are", "step 1",
    "gladly", "no problem",
];

/// How many words from its beginning are looked at.
const N_WORDS: usize = 16;

/// The phrase by which `answer` refuses, if it begins like a refusal.
#[must_use]
pub fn refuses(answer: &str) -> Option<&'static str> {
    let start = beginning(answer);
    REFUSALS.into_iter().find(|phrase| start.contains(phrase))
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
        ] {
            assert!(refuses(answer).is_some(), "{answer}");
        }
    }

    #[test]
    fn an_honest_answer_with_the_words_of_a_refusal_is_none() {
        for answer in [
            "I can't see the lobby, so I can't tell. Ask at the front desk.",
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
        assert_eq!(yields("Surely you are joking."), None);
    }
}
