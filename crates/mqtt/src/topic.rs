//! Topic Names and Topic Filters (section 4.7), and the form of a shared subscription (section 4.8.2).

use std::fmt;

use crate::text;

/// The most bytes a Topic Name or Topic Filter can have (MQTT-4.7.3-3).
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// What is wrong with a Topic Name or Topic Filter.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It has no characters (MQTT-4.7.3-1).
    Empty,
    /// It is longer than the protocol or the limit allows (MQTT-4.7.3-3).
    TooLong,
    /// It has more levels than the limit allows.
    TooManyLevels,
    /// A control character, U+0000 (MQTT-4.7.3-2) or a Unicode non-character.
    Unprintable,
    /// A Topic Name with a wildcard character (MQTT-3.3.2-2).
    WildcardInName,
    /// `#` is not alone in the last level (MQTT-4.7.1-1) or `+` is not alone in its level (MQTT-4.7.1-2).
    MisplacedWildcard,
    /// The share name is empty or has a wildcard character (MQTT-4.8.2-1, MQTT-4.8.2-2).
    ShareName,
    /// No filter follows the share name (MQTT-4.8.2-2).
    ShareFilter,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TopicError::Empty => "it is empty (MQTT-4.7.3-1)",
            TopicError::TooLong => "it is too long (MQTT-4.7.3-3)",
            TopicError::TooManyLevels => "it has too many levels",
            TopicError::Unprintable => "it has a control character or non-character (MQTT-4.7.3-2)",
            TopicError::WildcardInName => "a topic name has a wildcard (MQTT-3.3.2-2)",
            TopicError::MisplacedWildcard => {
                "a wildcard is not alone in its level or # is not last (MQTT-4.7.1-1)"
            }
            TopicError::ShareName => "the share name is empty or has a wildcard (MQTT-4.8.2-2)",
            TopicError::ShareFilter => "no filter follows the share name (MQTT-4.8.2-2)",
        })
    }
}

impl std::error::Error for TopicError {}

/// The parts of `$share/{group}/{filter}` (section 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedFilter<'a> {
    /// The share name.
    pub group: &'a str,
    /// The Topic Filter proper.
    pub filter: &'a str,
}

/// What starts the Topic Filter of a shared subscription.
pub(crate) const SHARE_PREFIX: &str = "$share/";

/// What one pass over the bytes finds.
struct Scan {
    slashes: usize,
    wildcard: bool,
    unprintable: bool,
}

/// One pass without branches, so that it is vectorised; a second one only for text beyond ASCII.
#[inline]
fn scan(text: &str) -> Scan {
    let mut slashes = 0usize;
    let mut wildcard = false;
    let mut control = false;
    let mut high = 0u8;
    for chunk in text.as_bytes().chunks(128) {
        let mut chunk_slashes = 0u8;
        for &byte in chunk {
            chunk_slashes += u8::from(byte == b'/');
            wildcard |= (byte == b'+') | (byte == b'#');
            control |= (byte < 0x20) | (byte == 0x7F);
            high |= byte;
        }
        slashes += usize::from(chunk_slashes);
    }
    let unprintable = control || (high >= 0x80 && text.chars().any(text::is_unprintable));
    Scan { slashes, wildcard, unprintable }
}

/// What names and filters have in common; tells whether there are wildcard characters.
#[inline]
fn check_common(text: &str, levels_max: u16) -> Result<bool, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    let scan = scan(text);
    if scan.unprintable {
        return Err(TopicError::Unprintable);
    }
    if scan.slashes >= usize::from(levels_max) {
        return Err(TopicError::TooManyLevels);
    }
    Ok(scan.wildcard)
}

/// Checks a Topic Name: not empty, no wildcards, nothing unprintable, at most `levels_max` levels.
#[inline]
pub fn check_topic(topic: &str, levels_max: u16) -> Result<(), TopicError> {
    // MQTT-3.3.2-2, MQTT-4.7.1-1: wildcards are for filters only.
    if check_common(topic, levels_max)? {
        return Err(TopicError::WildcardInName);
    }
    Ok(())
}

/// Checks a Topic Filter. For `$share/{group}/{filter}` the parts are returned, and `levels_max` bounds the filter proper.
pub fn check_filter(filter: &str, levels_max: u16) -> Result<Option<SharedFilter<'_>>, TopicError> {
    let Some(shared) = filter.strip_prefix(SHARE_PREFIX) else {
        check_plain_filter(filter, levels_max)?;
        return Ok(None);
    };
    if filter.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    // MQTT-4.8.2-2: the share name is followed by `/` and a Topic Filter.
    let (group, filter) = shared.split_once('/').unwrap_or((shared, ""));
    // MQTT-4.8.2-1: at least one character; MQTT-4.8.2-2: no `/`, `+` or `#` in it.
    if group.is_empty() || group.contains(['+', '#']) {
        return Err(TopicError::ShareName);
    }
    if text::has_unprintable(group) {
        return Err(TopicError::Unprintable);
    }
    if filter.is_empty() {
        return Err(TopicError::ShareFilter);
    }
    check_plain_filter(filter, levels_max)?;
    Ok(Some(SharedFilter { group, filter }))
}

fn check_plain_filter(filter: &str, levels_max: u16) -> Result<(), TopicError> {
    if !check_common(filter, levels_max)? {
        return Ok(());
    }
    let bytes = filter.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        if byte != b'+' && byte != b'#' {
            continue;
        }
        // MQTT-4.7.1-2: `+` occupies its level alone.
        // MQTT-4.7.1-1: `#` occupies its level alone and is the last one.
        let starts = index == 0 || bytes[index - 1] == b'/';
        let ends = match bytes.get(index + 1) {
            None => true,
            Some(&next) => byte == b'+' && next == b'/',
        };
        if !(starts && ends) {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

/// Whether the Topic Filter `filter` (without `$share/{group}/`) matches the Topic Name `topic`; both are valid.
///
/// One walk over both, for access rules, tests and one-off questions; routing has an index of its own.
pub fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.as_bytes(), topic.as_bytes());
    // MQTT-4.7.2-1: a filter that starts with a wildcard does not match a name that starts with `$`.
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let (mut at, mut name_at) = (0, 0);
    loop {
        // Both stand at the start of a level.
        match filter.get(at) {
            Some(b'#') => return true,
            Some(b'+') => {
                at += 1;
                name_at += topic[name_at..].iter().take_while(|&&byte| byte != b'/').count();
            }
            // MQTT-4.7.3-4: byte by byte, no normalisation.
            _ => {
                while at < filter.len() && filter[at] != b'/' {
                    if topic.get(name_at) != Some(&filter[at]) {
                        return false;
                    }
                    at += 1;
                    name_at += 1;
                }
            }
        }
        match (filter.get(at), topic.get(name_at)) {
            (None, None) => return true,
            (Some(b'/'), Some(b'/')) => {
                at += 1;
                name_at += 1;
            }
            // `#` includes the parent level (section 4.7.1.2).
            (Some(b'/'), None) => return filter[at + 1..] == *b"#",
            _ => return false,
        }
    }
}

/// The levels of a Topic Name or Topic Filter; an empty level counts (section 4.7.1.1).
pub fn levels(topic: &str) -> impl Iterator<Item = &str> {
    topic.split('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        for topic in ["a", "/", "a/b", "a b", " ", "$SYS/x", "//", "é/\u{FEFF}", "a/$b"] {
            assert_eq!(check_topic(topic, 128), Ok(()), "{topic}");
        }
        for (topic, error) in [
            ("", TopicError::Empty),
            ("a/+", TopicError::WildcardInName),
            ("a#", TopicError::WildcardInName),
            ("a\0", TopicError::Unprintable),
            ("a\u{7F}", TopicError::Unprintable),
            ("a\u{85}", TopicError::Unprintable),
            ("a\u{FFFE}", TopicError::Unprintable),
        ] {
            assert_eq!(check_topic(topic, 128), Err(error), "{topic:?}");
        }
    }

    #[test]
    fn levels_are_counted_exactly() {
        for levels in 1..600usize {
            let topic = vec!["a"; levels].join("/");
            assert_eq!(check_topic(&topic, levels as u16), Ok(()));
            assert_eq!(check_topic(&topic, levels as u16 - 1), Err(TopicError::TooManyLevels));
            assert_eq!(check_filter(&topic, levels as u16 - 1), Err(TopicError::TooManyLevels));
        }
        let deep = "/".repeat(MAX_TOPIC_BYTES);
        assert_eq!(check_topic(&deep, 128), Err(TopicError::TooManyLevels));
        assert_eq!(check_topic(&"/".repeat(MAX_TOPIC_BYTES + 1), 128), Err(TopicError::TooLong));
    }

    #[test]
    fn filters_of_the_specification() {
        // The examples of sections 4.7.1.2 and 4.7.1.3.
        for filter in [
            "sport/tennis/player1/#",
            "sport/#",
            "#",
            "sport/tennis/#",
            "+",
            "+/tennis/#",
            "sport/+/player1",
            "/+",
            "+/+",
        ] {
            assert_eq!(check_filter(filter, 128), Ok(None), "{filter}");
        }
        for filter in
            ["sport/tennis#", "sport/tennis/#/ranking", "sport+", "+sport", "##", "++", "#/", "a/+b/c", "+#"]
        {
            assert_eq!(check_filter(filter, 128), Err(TopicError::MisplacedWildcard), "{filter}");
        }
        assert_eq!(check_filter("", 128), Err(TopicError::Empty));
        assert_eq!(check_filter("a\u{1}", 128), Err(TopicError::Unprintable));
    }

    #[test]
    fn shared_filters_have_a_group_and_a_filter() {
        // Attack 33.
        let parts = |group, filter| Ok(Some(SharedFilter { group, filter }));
        assert_eq!(check_filter("$share/g/a/+", 2), parts("g", "a/+"));
        assert_eq!(check_filter("$share/g//", 128), parts("g", "/"));
        assert_eq!(check_filter("$share/g/#", 128), parts("g", "#"));
        for (filter, error) in [
            ("$share/", TopicError::ShareName),
            ("$share//t", TopicError::ShareName),
            ("$share/+/t", TopicError::ShareName),
            ("$share/g#/t", TopicError::ShareName),
            ("$share/g\n/t", TopicError::Unprintable),
            ("$share/g", TopicError::ShareFilter),
            ("$share/g/", TopicError::ShareFilter),
            ("$share/g/a#", TopicError::MisplacedWildcard),
            ("$share/g/a/b/c", TopicError::TooManyLevels),
        ] {
            assert_eq!(check_filter(filter, 2), Err(error), "{filter:?}");
        }
        // No shared subscriptions, only names that look like it.
        for filter in ["$share", "$shared/g/t", "$SHARE/g/t", "/$share/g/t"] {
            assert_eq!(check_filter(filter, 128), Ok(None), "{filter}");
        }
    }

    #[test]
    fn matching_by_the_examples_of_the_specification() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/#", "sports", false),
            ("#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor/Clients", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor/Clients", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("/finance", "finance", false),
            ("a/+/#", "a", false),
            ("a/+/#", "a/b", true),
            ("+/#", "a", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("a/b", "a/bc", false),
            ("a/bc", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
