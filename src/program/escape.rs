//! Text that others chose (an argument, a path, the name of a host) on its way to a terminal or a
//! log.
//!
//! Such text can hold characters that move the cursor, end a line or reverse the reading order.
//! They could make a line say what the program did not say. So they are shown as escapes.

/// Whether a character acts on the text around it and is invisible itself: Unicode's categories Cc
/// (control), Cf (format, with the bidirectional marks), Zl and Zp (separators of lines and of
/// paragraphs), as of Unicode 16.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}'
        )
}

/// The text with its [hidden](is_hidden) characters as `\n`, `\r`, `\t` or `\u{202e}`. It is one line.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The same for a JSON text in one line, whose strings keep their values: `\u202e`. JSON itself
/// allows every character above U+001F.
#[cfg(any(feature = "json", feature = "load"))]
#[must_use]
pub fn escape_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if is_hidden(character) {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            shown.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        let check = |text: &str, expected: &str| assert_eq!(escape(text), expected);
        check("/run/a b.sock", "/run/a b.sock");
        check(
            "\n\r\t\0\u{1b}[31m\u{7f}\u{9b}",
            r"\n\r\t\u{0}\u{1b}[31m\u{7f}\u{9b}",
        );
        check(
            "\u{202e}\u{2028}\u{2029}\u{2066}\u{200f}",
            r"\u{202e}\u{2028}\u{2029}\u{2066}\u{200f}",
        );
        check("\u{feff}\u{e0041}", r"\u{feff}\u{e0041}");
        // Combining characters belong to the letter before them.
        check(r"☃ 日本 e\u{301} \x", r"☃ 日本 e\u{301} \x");
        check("e\u{301} \u{939}\u{93f}", "e\u{301} \u{939}\u{93f}");
    }

    #[cfg(feature = "json")]
    #[test]
    fn json_keeps_its_values() {
        let value = "a\n\u{7f}\u{202e}\u{e0041}\\☃";
        let shown = escape_json(&serde_json::json!([value]).to_string());
        assert!(!shown.contains(is_hidden), "{shown}");
        let read: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, [value]);
    }
}
