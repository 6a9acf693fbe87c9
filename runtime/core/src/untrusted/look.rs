//! What a character looks like to a reader, as far as pivots and chat markers go.
//!
//! Not a general confusables table (Unicode TS 39 has thousands of rows): it folds the letters of the pivot words
//! and marker names, brackets, bars and slashes. A look-alike that is missing here is still no pivot, since the
//! engine takes pivots only from positions it placed itself.

/// A character's looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// `[` and its relatives.
    OpenSquare,
    /// `]` and its relatives.
    CloseSquare,
    /// `<` and its relatives.
    OpenAngle,
    /// `>` and its relatives.
    CloseAngle,
    /// `|` and its relatives.
    Bar,
    /// `/` and its relatives.
    Slash,
    /// A letter or digit, folded to upper-case ASCII where it looks like one, else U+FFFD.
    Letter(char),
    /// White space and light punctuation that a reader skips inside brackets.
    Space,
    /// Invisible.
    Nothing,
    /// Anything else.
    Other,
}

/// Upper- and lower-case letters of other scripts beside the ASCII letter they pass for.
const LETTERS: [(&str, char); 16] = [
    ("АΑаαɑÀÁÂÃÄÅàáâãäåĀāĂăĄąᴀ", 'A'),
    ("ЕΕеєéèêëÉÈÊËĒēĘęĚěᴇ", 'E'),
    ("ЅѕꜱŠšŚśŞşȘșꓢ", 'S'),
    ("ꜰϜƑƒꓝ", 'F'),
    ("ՍÙÚÛÜùúûüŪūսυᴜ", 'U'),
    ("ΝÑñńŃņŅνɴո", 'N'),
    ("ᴙʀŔŕŘřꓣг", 'R'),
    ("ТΤтτŢţŤťᴛ", 'T'),
    ("НΗнһʜĦħ", 'H'),
    ("ІΙіιıÌÍÎÏìíîïĪīİļӏ", 'I'),
    ("КΚкκĶķᴋ", 'K'),
    ("МΜмᴍ", 'M'),
    ("ОΟоοÒÓÔÕÖØòóôõöøᴏ", 'O'),
    ("ВΒвʙ", 'B'),
    ("Ԁԁᴅ", 'D'),
    ("ΧХхχ", 'X'),
];

/// Folds `c` to what it looks like.
#[must_use]
pub fn fold(c: char) -> Look {
    // Full-width forms stand in one row, shifted by a constant.
    let c = match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        _ => c,
    };
    match c {
        '[' | '【' | '〔' | '⟦' | '⁅' | '〚' | '❲' | '⦋' | '⦍' | '⦏' | '⟬' | '〘' | '「' | '﹝' | '⎡'
        | '⎣' => Look::OpenSquare,
        ']' | '】' | '〕' | '⟧' | '⁆' | '〛' | '❳' | '⦌' | '⦎' | '⦐' | '⟭' | '〙' | '」' | '﹞' | '⎤'
        | '⎦' => Look::CloseSquare,
        '<' | '‹' | '〈' | '⟨' | '❮' | '˂' | '«' | '《' | '﹤' | 'ᐸ' | '\u{2329}' => {
            Look::OpenAngle
        }
        '>' | '›' | '〉' | '⟩' | '❯' | '˃' | '»' | '》' | '﹥' | 'ᐳ' | '\u{232a}' => {
            Look::CloseAngle
        }
        '|' | '│' | '❘' | 'ǀ' | '∣' | '┃' | '¦' | '⏐' | '︱' => Look::Bar,
        '/' | '⁄' | '∕' | '⟋' | '╱' => Look::Slash,
        _ if is_invisible(c) => Look::Nothing,
        // The second is the space of SentencePiece vocabularies.
        _ if c.is_whitespace() || c == '\u{2581}' => Look::Space,
        '-' | '_' | '.' | '*' | '`' | '\'' | '"' | '~' | '·' | '‐'..='―' | '\u{2018}'..='\u{201f}' => {
            Look::Space
        }
        'a'..='z' | 'A'..='Z' | '0'..='9' => Look::Letter(c.to_ascii_uppercase()),
        _ => letter(c).map_or_else(
            || if c.is_alphanumeric() { Look::Letter('\u{fffd}') } else { Look::Other },
            Look::Letter,
        ),
    }
}

/// The ASCII letter that `c`, not itself ASCII, passes for.
fn letter(c: char) -> Option<char> {
    let nth = |offset: u32| char::from_u32(u32::from(b'A') + offset % 26);
    match c as u32 {
        // Mathematical alphanumerics: runs of 26 capitals and 26 small letters.
        u @ 0x1d400..=0x1d6a3 => nth(u - 0x1d400),
        // Circled, squared and regional letters.
        u @ 0x24b6..=0x24e9 => nth(u - 0x24b6),
        u @ 0x1f110..=0x1f129 => nth(u - 0x1f110),
        u @ 0x1f130..=0x1f149 => nth(u - 0x1f130),
        u @ 0x1f150..=0x1f169 => nth(u - 0x1f150),
        u @ 0x1f170..=0x1f189 => nth(u - 0x1f170),
        u @ 0x1f1e6..=0x1f1ff => nth(u - 0x1f1e6),
        _ => LETTERS.iter().find(|(row, _)| row.contains(c)).map(|&(_, ascii)| ascii),
    }
}

/// Zero-width, directional, filler, combining and tag characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_row_folds_to_its_ascii_letter() {
        for (row, ascii) in LETTERS {
            for c in row.chars() {
                assert_eq!(fold(c), Look::Letter(ascii), "{c}");
            }
        }
    }

    #[test]
    fn mathematical_capitals_and_small_letters_fold_alike() {
        assert_eq!(fold('𝐒'), Look::Letter('S'));
        assert_eq!(fold('𝐬'), Look::Letter('S'));
        assert_eq!(fold('𝚜'), Look::Letter('S'));
    }
}
