//! Text from anywhere, in documents.
//!
//! A Client Identifier or the name in a certificate is whatever a client says, and an operator looks at it in a browser: markup in
//! it must stay text (RabbitMQ CVE-2026-66077, HiveMQ CVE-2020-13821).

/// As text or an attribute's value in XML: markup and quotes as references, and what XML 1.0 has no character for as U+FFFD.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML 1.0, production 2: Char. Tabs and line ends are of no use in a label.
            '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            // Marks that turn the direction of writing make a label look like another.
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Within a quoted string of the DOT language, without the meaning that `\n`, `\l` or `\G` have in labels.
pub(super) fn dot(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            // Graphviz reads HTML references in labels.
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            character if character.is_control() => escaped.push('\u{FFFD}'),
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// At most `max` characters; of more, the beginning and `…`.
pub(super) fn fit(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_stays_text() {
        assert_eq!(
            xml("<script>alert('1')</script>&\"\u{1b}"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{FFFD}"
        );
        assert_eq!(dot("a\"];b\\G<b>\n"), "a\\\"];b\\\\G&lt;b&gt;\u{FFFD}");
        assert_eq!(fit("éééé", 3), "éé…");
    }
}
