//! The fixed refusal sentences.
//!
//! Not the choice between these and the model's words (that is policy). Invariant: there is always an English one.

use super::Config;
use std::collections::BTreeMap;

const ENGLISH: &str =
    "I cannot help with this request. Please ask the person in charge if you need it for your work.";

/// The sentences that are built in, by language.
#[must_use]
pub(super) fn fixed_sentences() -> BTreeMap<String, String> {
    [
        ("en", ENGLISH),
        (
            "de",
            "Bei dieser Anfrage kann ich nicht helfen. Bitte wenden Sie sich an die zuständige Person, wenn Sie \
             dies für Ihre Arbeit brauchen.",
        ),
        (
            "fr",
            "Je ne peux pas répondre à cette demande. Adressez-vous à la personne responsable si vous en avez \
             besoin pour votre travail.",
        ),
        (
            "es",
            "No puedo ayudar con esta solicitud. Consulte a la persona responsable si lo necesita para su trabajo.",
        ),
    ]
    .map(|(language, sentence)| (language.to_owned(), sentence.to_owned()))
    .into()
}

impl Config {
    /// The fixed sentence in `language`, else in its main language (`pt` for `pt-br`), else in English.
    #[must_use]
    pub fn refusal_sentence(&self, language: &str) -> &str {
        let tag = language.to_ascii_lowercase();
        let main = tag.split('-').next().unwrap_or_default();
        [tag.as_str(), main, "en"]
            .iter()
            .find_map(|t| self.refusal.text.get(*t))
            .map_or(ENGLISH, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_language_falls_back_to_its_main_one_then_to_english() {
        let config = Config::default();
        assert!(config.refusal_sentence("de-AT").starts_with("Bei dieser"));
        assert_eq!(config.refusal_sentence("fi"), ENGLISH);
        let mut bare = config;
        bare.refusal.text.clear();
        assert_eq!(bare.refusal_sentence("de"), ENGLISH);
    }
}
