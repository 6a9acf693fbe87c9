//! Writes HTML so that forgetting to escape is not possible and forgetting to close is not either.
//!
//! Not a template engine and not a parser. Invariants: names of elements and attributes, and everything that goes in
//! raw, are `&'static str`, so text made at run time cannot be among them; each element is closed by the call that
//! opened it.

use super::visible::visible;

/// Attributes of an element.
pub(super) type Attributes<'a> = &'a [(&'static str, &'a str)];

/// Elements after which the source begins a new line.
const BLOCKS: &str = " html head body title meta style header main footer section h1 h2 h3 p ul ol li dl dt dd div \
                      table caption thead tbody tr figure figcaption details summary pre svg g line path circle rect ";

/// A growing page.
#[derive(Default)]
pub(super) struct Html {
    out: String,
}

impl Html {
    /// Markup that was written into this program: the visible exception.
    pub(super) fn raw(&mut self, markup: &'static str) {
        self.out.push_str(markup);
    }

    /// Text, wherever it came from.
    pub(super) fn text(&mut self, text: &str) {
        escape(&visible(text), &mut self.out);
    }

    /// An element around whatever `inside` writes.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes,
        inside: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        inside(self);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self.end_line(name);
    }

    /// An element that holds text only.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: Attributes, text: &str) {
        self.element(name, attributes, |h| h.text(text));
    }

    /// An element that HTML does not close.
    pub(super) fn void(&mut self, name: &'static str, attributes: Attributes) {
        self.open(name, attributes);
        self.end_line(name);
    }

    /// The page.
    pub(super) fn into_string(self) -> String {
        self.out
    }

    fn open(&mut self, name: &'static str, attributes: Attributes) {
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("=\"");
            escape(&visible(value), &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
    }

    fn end_line(&mut self, name: &str) {
        let is_block = BLOCKS.split_whitespace().any(|block| block == name);
        if is_block {
            self.out.push('\n');
        }
    }
}

/// Appends `text` with every character that means something to HTML as an entity, in elements and attributes alike.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        let mut h = Html::default();
        h.leaf("b", &[], "</b><script>&amp;");
        assert_eq!(h.into_string(), "<b>&lt;/b&gt;&lt;script&gt;&amp;amp;</b>");
    }

    #[test]
    fn text_cannot_leave_its_attribute() {
        let mut h = Html::default();
        h.leaf("b", &[("title", "\" onmouseover='x'\0")], "");
        assert_eq!(h.into_string(), "<b title=\"&quot; onmouseover=&#39;x&#39;⟦U+0000⟧\"></b>");
    }

    #[test]
    fn elements_close_in_the_order_in_which_they_opened() {
        let mut h = Html::default();
        h.element("p", &[], |h| h.element("i", &[], |h| h.leaf("b", &[], "x")));
        assert_eq!(h.into_string(), "<p><i><b>x</b></i></p>\n");
    }
}
