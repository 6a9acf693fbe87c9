//! Makes text from outside fit to be looked at: nothing in it acts on a terminal or a line's direction unseen.
//!
//! Not escaping for HTML or Markdown; the writers do that afterwards. Invariant: the result holds no control
//! character besides line break and tab, and none that is invisible or turns the writing direction.

/// Most characters of a text that a report shows; a phone's screen holds about a thousand.
pub(super) const MAX_TEXT: usize = 6_000;

/// Most characters of a name where it stands for the thing; its whole is in the identity.
pub(super) const MAX_NAME: usize = 60;

/// `text` with a code in the place of each character that cannot be seen but does something.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            // The two halves of a line break elsewhere in the world.
            '\r' if chars.peek() == Some(&'\n') => {}
            c if c.is_control() || is_hidden(c) => out.push_str(&format!("⟦U+{:04X}⟧", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Characters without a shape that turn the direction, hide in words or carry text nobody sees. The joiners U+200C
/// and U+200D are not among them: Persian, Indic scripts and emoji are written with them.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// At most `most` characters of `text`, and how many were left out.
pub(super) fn clip(text: &str, most: usize) -> (&str, usize) {
    match text.char_indices().nth(most) {
        Some((at, _)) => (&text[..at], text[at..].chars().count()),
        None => (text, 0),
    }
}

/// The beginning of `text` in one line.
pub(super) fn line(text: &str, most: usize) -> String {
    // Cut first: a prompt may be a megabyte of which a line is wanted.
    let (begin, n_left) = clip(text.trim_start(), most);
    let mut line = begin.split_whitespace().collect::<Vec<_>>().join(" ");
    if n_left > 0 {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_act_unseen_become_codes() {
        assert_eq!(visible("a\0b\u{1b}[31mc\u{7f}\u{85}"), "a⟦U+0000⟧b⟦U+001B⟧[31mc⟦U+007F⟧⟦U+0085⟧");
        assert_eq!(visible("\u{202e}gpj.exe \u{e0041}"), "⟦U+202E⟧gpj.exe ⟦U+E0041⟧");
    }

    #[test]
    fn line_breaks_tabs_and_joiners_stay() {
        assert_eq!(visible("a\r\nb\tc\rd"), "a\nb\tc⟦U+000D⟧d");
        assert_eq!(visible("می\u{200c}خواهم 👩\u{200d}🔧"), "می\u{200c}خواهم 👩\u{200d}🔧");
    }

    #[test]
    fn a_cut_falls_between_characters_and_says_how_much_it_left() {
        assert_eq!(clip("äöü", 2), ("äö", 1));
        assert_eq!(clip("äöü", 3), ("äöü", 0));
        assert_eq!(line("  one\n two   three", 9), "one two…");
    }
}
