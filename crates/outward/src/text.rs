//! What a client chose, in lines that others read: nothing of it may end the line, start another, or turn it around.

use std::fmt::Write;

/// Control characters, and those that change the direction or the lines of the text around them.
pub(crate) fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Appends `text` in quotes, in printable ASCII: `"a\u000a\"b"`.
pub(crate) fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    push_ascii(line, text, |c| c == '"' || c == '\\');
    line.push('"');
}

/// Appends `text` in printable ASCII; what `quote` picks gets a backslash, what is not ASCII becomes `\u` and its UTF-16.
pub(crate) fn push_ascii(line: &mut String, text: &str, quote: impl Fn(char) -> bool) {
    for c in text.chars() {
        match c {
            c if quote(c) => {
                line.push('\\');
                line.push(c);
            }
            ' '..='~' => line.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
}

/// JSON in printable ASCII, which means the same.
pub(crate) fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    push_ascii(&mut ascii, json, |_| false);
    ascii
}

/// The words of `text` that a name may have; the others become `_`.
pub(crate) fn name(text: &str, length_max: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = text.chars().take(length_max).map(plain).collect();
    if name.is_empty() { "-".into() } else { name }
}
