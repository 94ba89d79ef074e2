//! Words of a remote side, made fit to be shown, and words of ours, made fit to be sent.

/// Returns the text with every control character replaced by U+FFFD: a NUL makes pygame's fonts raise, an escape sequence
/// recolours a terminal, and a new line forges a line of a chat.
pub fn printable(text: &str) -> String {
    let chars = text.chars();
    chars
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Returns the longest start of the text that has at most `limit` bytes and whole characters.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("", 3), "");
    }

    #[test]
    fn what_would_forge_a_line_or_colour_a_terminal_is_replaced() {
        assert_eq!(printable("añ \u{1b}[31m\n\0"), "añ \u{fffd}[31m\u{fffd}\u{fffd}");
    }
}
