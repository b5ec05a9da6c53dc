//! Lists come in pages: `?limit=&after=` asks, `{items, next}` answers.
//!
//! A cursor is the key of the last item, so a page costs the same wherever it is, and what is added or removed in the
//! meantime neither repeats nor hides an item.

use crate::problem::Problem;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Items of a page unless asked otherwise.
pub const LIMIT_DEFAULT: usize = 100;
/// Items of a page at most.
pub const LIMIT_MAX: usize = 1000;
/// Longest cursor: the longest key of anything that is listed, encoded.
const CURSOR_BYTES_MAX: usize = 128 << 10;

/// The part of the query that says which page is meant, as the API's document shows it.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Items of the page, from 1 to 1000 [default: 100].
    #[param(minimum = 1, maximum = 1000, required = false)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    #[param(required = false)]
    pub after: Option<String>,
}

/// Which page is meant. Extracts from the query; other keys of the query are left to other extractors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Items, from 1 to [`LIMIT_MAX`].
    pub limit: usize,
    /// The key of the last item of the page before.
    pub after: Option<String>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listing<T> {
    /// The items, in the order of their keys.
    pub items: Vec<T>,
    /// What to give as `after` for the next page; null: this was the last.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// A page out of items in the order of their keys, of which `items` holds one more than `limit` if there are more.
    pub fn of(mut items: Vec<T>, page: &Page, key: impl Fn(&T) -> &str) -> Listing<T> {
        let more = items.len() > page.limit;
        items.truncate(page.limit);
        let next = if more { items.last().map(|last| cursor(key(last))) } else { None };
        Listing { items, next }
    }

    /// A page out of all items, which are few and in memory.
    pub fn from_all(all: impl IntoIterator<Item = T>, page: &Page, key: impl Fn(&T) -> &str) -> Listing<T> {
        let mut items: Vec<T> = all
            .into_iter()
            .filter(|item| page.after.as_deref().is_none_or(|after| key(item) > after))
            .collect();
        items.sort_by(|a, b| key(a).cmp(key(b)));
        Listing::of(items, page, key)
    }

    /// A page whose next one begins at a place of the caller's own.
    pub fn at(items: Vec<T>, next: Option<String>) -> Listing<T> {
        Listing { items, next: next.as_deref().map(cursor) }
    }

    /// The same page of other items.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Listing<U> {
        Listing { items: self.items.into_iter().map(change).collect(), next: self.next }
    }
}

impl Page {
    /// Items to fetch for [`Listing::of`]: one more than the page has tells whether there is another.
    pub fn fetch(&self) -> usize {
        self.limit + 1
    }

    /// Reads the query.
    fn of_query(query: &str) -> Result<Page, Problem> {
        let mut page = Page { limit: LIMIT_DEFAULT, after: None };
        for (name, value) in form_pairs(query) {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    page.limit = limit.ok_or_else(|| {
                        Problem::bad_request(format!("`limit` is a number from 1 to {LIMIT_MAX}"))
                    })?;
                }
                "after" if !value.is_empty() => page.after = Some(key_of(&value)?),
                _ => {}
            }
        }
        Ok(page)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Page, Problem> {
        Page::of_query(parts.uri.query().unwrap_or_default())
    }
}

/// The pairs of a query, decoded.
pub(crate) fn form_pairs(query: &str) -> Vec<(String, String)> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(
        &format!("/?{query}").parse().unwrap_or_default(),
    )
    .map(|pairs| pairs.0)
    .unwrap_or_default()
}

fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn key_of(cursor: &str) -> Result<String, Problem> {
    let bytes = (cursor.len() <= CURSOR_BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(cursor).ok()).flatten();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| {
        Problem::bad_request("`after` is not a cursor").help("give the `next` of the page before, as it is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_meet_and_neither_repeat_nor_hide() {
        let names: Vec<String> = (0..25).map(|i| format!("client {i:02}/é")).collect();
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = Page::of_query(&format!("limit=10&after={after}&filter=x")).unwrap();
            let listing = Listing::from_all(names.clone(), &page, |name| name);
            assert!(listing.items.len() <= 10);
            seen.extend(listing.items);
            match listing.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen, names);
    }

    #[test]
    fn a_full_last_page_has_no_next() {
        let page = Page { limit: 2, after: None };
        assert_eq!(Listing::from_all(vec!["a", "b"], &page, |name| name).next, None);
        assert!(Listing::from_all(vec!["a", "b", "c"], &page, |name| name).next.is_some());
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for bad in
            ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "after=%20", "after=_w", "after=a"]
        {
            let problem = Page::of_query(bad).unwrap_err();
            assert_eq!(problem.status(), 400, "{bad}");
        }
        assert_eq!(Page::of_query("").unwrap(), Page { limit: LIMIT_DEFAULT, after: None });
    }
}
