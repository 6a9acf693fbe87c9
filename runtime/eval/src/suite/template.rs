//! Texts with slots such as `{question}`, filled in one pass: what is filled in is never read for slots again, since
//! prompts and answers are hostile text that may spell one.

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// A slot's name, without its braces.
    Slot(&'a str),
}

/// The pieces of `template`. A brace that opens no `{name}` on its own line is text.
pub(crate) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = template;
    let mut from = 0;
    while let Some(open) = rest[from..].find('{').map(|at| from + at) {
        let inner = &rest[open + 1..];
        match inner.find(['{', '}', '\n']) {
            Some(len) if len > 0 && inner[len..].starts_with('}') => {
                out.push(Piece::Text(&rest[..open]));
                out.push(Piece::Slot(&inner[..len]));
                rest = &inner[len + 1..];
                from = 0;
            }
            _ => from = open + 1,
        }
    }
    out.push(Piece::Text(rest));
    out.retain(|p| *p != Piece::Text(""));
    out
}

/// Puts each slot's value in its place; a slot that `value` does not know stays as it is written.
pub(crate) fn fill<'v>(template: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let mut out = String::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Slot(name) => match value(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["{", name, "}"]),
            },
        }
    }
    out
}

/// Whether `template` has a slot of this name.
pub(crate) fn has_slot(template: &str, name: &str) -> bool {
    pieces(template).contains(&Piece::Slot(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_in_text_that_spells_a_slot_is_not_filled_again() {
        let filled = fill("{a} and {b}", |name| match name {
            "a" => Some("{b}"),
            "b" => Some("{a}"),
            _ => None,
        });
        assert_eq!(filled, "{b} and {a}");
    }

    #[test]
    fn braces_that_are_no_slots_stay() {
        for text in ["", "{", "}{", "{}", "{ {x", "fn main() {\n}", "{unknown}", "{{x}"] {
            assert_eq!(fill(text, |_| None), text);
        }
        assert_eq!(fill("{ {x}", |_| Some("y")), "{ y");
        assert!(has_slot("q: {question}", "question") && !has_slot("question", "question"));
    }
}
