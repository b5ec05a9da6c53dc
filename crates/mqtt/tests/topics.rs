//! Topic checks and matching against a specification that is written in another way: by levels, recursively.

use proptest::{collection::vec, prelude::*, sample::select};
use ravelin_mqtt::{SharedFilter, check_filter, check_topic, levels, matches};

/// Names and filters made of few characters, so that matches and near misses are frequent.
fn name() -> impl Strategy<Value = String> {
    vec(select(vec!["", "a", "b", "ab", "$", "$SYS"]), 1..5).prop_map(|levels| levels.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    vec(select(vec!["", "a", "b", "ab", "+", "+", "$SYS", "#", "a#", "+b"]), 1..5)
        .prop_map(|levels| levels.join("/"))
}

/// Filters that are valid.
fn valid_filter() -> impl Strategy<Value = String> {
    let levels = vec(select(vec!["", "a", "b", "ab", "+", "+", "$SYS"]), 0..5);
    (levels, select(vec!["", "a", "+", "#", "#"]))
        .prop_map(|(mut levels, last)| {
            levels.push(last);
            levels.join("/")
        })
        .prop_filter("not empty", |filter| !filter.is_empty())
}

fn specified_match(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        ([], []) => true,
        (["#"], _) => true,
        (["+", filter @ ..], [_, name @ ..]) => specified_match(filter, name),
        ([level, filter @ ..], [other, name @ ..]) => level == other && specified_match(filter, name),
        _ => false,
    }
}

fn specified_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let (last, before) = levels.split_last().unwrap();
    let plain = |level: &str| level == "+" || !level.contains(['+', '#']);
    !filter.is_empty() && before.iter().all(|level| plain(level)) && (*last == "#" || plain(last))
}

/// `$share/{group}/{filter}` taken apart by levels.
fn specified_share(filter: &str) -> Option<Option<(String, String)>> {
    let levels: Vec<&str> = filter.split('/').collect();
    if levels[0] != "$share" || levels.len() == 1 {
        return None;
    }
    let group = levels[1];
    let rest = levels[2..].join("/");
    let valid = !group.is_empty() && !group.contains(['+', '#']) && specified_filter(&rest);
    Some(valid.then(|| (group.to_owned(), rest)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matching(filter in valid_filter(), name in name().prop_filter("not empty", |name| !name.is_empty())) {
        prop_assert_eq!(check_filter(&filter, 128), Ok(None));
        let (filter_levels, name_levels): (Vec<_>, Vec<_>) = (levels(&filter).collect(), levels(&name).collect());
        let hidden = name.starts_with('$') && ["+", "#"].contains(&filter_levels[0]);
        let expected = !hidden && specified_match(&filter_levels, &name_levels);
        prop_assert_eq!(matches(&filter, &name), expected, "{} {}", filter, name);
    }

    #[test]
    fn filters(filter in filter()) {
        prop_assert_eq!(check_filter(&filter, 128).is_ok(), specified_filter(&filter), "{}", filter);
    }

    #[test]
    fn shared_filters(group in select(vec!["", "g", "+", "g#", "gruppe"]), filter in filter(), cut in any::<bool>()) {
        let whole = if cut { format!("$share/{group}") } else { format!("$share/{group}/{filter}") };
        let expected = specified_share(&whole).unwrap();
        let parts = check_filter(&whole, 128).ok().flatten();
        let expected = expected.as_ref().map(|(group, filter)| SharedFilter { group, filter });
        prop_assert_eq!(parts, expected);
    }

    #[test]
    fn any_text_is_judged_as_specified(text in any::<String>(), levels_max in 0..8u16) {
        let bad = |character: char| {
            let code = character as u32;
            code < 0x20 || (0x7F..0xA0).contains(&code) || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFF >= 0xFFFE
        };
        let common = !text.is_empty() && !text.chars().any(bad) && text.split('/').count() <= usize::from(levels_max);
        prop_assert_eq!(check_topic(&text, levels_max).is_ok(), common && !text.contains(['+', '#']));
        if !text.starts_with("$share/") {
            prop_assert_eq!(check_filter(&text, levels_max).is_ok(), common && specified_filter(&text));
        }
    }

    #[test]
    fn any_two_texts_can_be_compared(filter in any::<String>(), topic in any::<String>()) {
        // Neither is valid, usually; the answer does not matter, that there is one does.
        matches(&filter, &topic);
    }

    #[test]
    fn a_name_matches_itself_and_everything(name in name().prop_filter("not empty", |name| !name.is_empty())) {
        prop_assert!(matches(&name, &name));
        prop_assert_eq!(matches("#", &name), !name.starts_with('$'));
    }
}

#[test]
fn matching_is_not_recursive_and_not_quadratic() {
    // Attacks 18 and 20: deep names against wildcards on every level.
    let name = "a/".repeat(32_000);
    let filter = "+/".repeat(32_000);
    for _ in 0..200 {
        assert!(matches(&filter, &name));
    }
    assert!(matches(&format!("{filter}#"), &name));
}
