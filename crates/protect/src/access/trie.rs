//! The rules as a tree of topic levels. A decision visits only the branches that the topic can take; each at most
//! once, so that its cost is bounded by the number of rules whatever the topic.

use ravelin_event::Principal;
use std::collections::HashMap;
use std::ops::ControlFlow;

pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
pub(super) const SUBSCRIBE: u8 = 4;

/// What the rules that end at one place say.
#[derive(Clone, Default)]
pub(super) struct Terminal {
    /// What they allow together.
    pub allowed: u8,
    /// The first rule that denies.
    pub denied_by: Option<u32>,
    /// Which rule allows what.
    pub allowed_by: Vec<(u8, u32)>,
}

impl Terminal {
    fn is_empty(&self) -> bool {
        self.allowed == 0 && self.denied_by.is_none()
    }

    fn add(&mut self, effect: Effect, rule: u32) {
        match effect {
            Effect::Deny => self.denied_by = Some(self.denied_by.map_or(rule, |first| first.min(rule))),
            Effect::Allow(access) => {
                self.allowed |= access;
                self.allowed_by.push((access, rule));
            }
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Allow(u8),
    Deny,
}

#[derive(Clone, Default)]
struct Node {
    literal: HashMap<Box<str>, Node, foldhash::fast::FixedState>,
    substituted: Vec<(Vec<Segment>, Node)>,
    plus: Option<Box<Node>>,
    /// Rules that end here.
    exact: Terminal,
    /// Rules that go on with `#`: for this level and all below.
    hash: Terminal,
}

/// A part of a level of a pattern.
#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    ClientId,
    Identity,
}

/// A section of rules.
#[derive(Clone, Default)]
pub(super) struct Trie {
    root: Node,
    size: usize,
}

/// What `%c` and `%u` stand for.
pub(super) struct Names<'a> {
    client_id: &'a str,
    identity: Option<&'a str>,
    /// A name that could change the meaning of a pattern: no pattern allows anything, every pattern that could deny
    /// does.
    unsafe_names: bool,
}

impl<'a> Names<'a> {
    pub const NONE: Names<'static> = Names { client_id: "", identity: None, unsafe_names: false };

    pub fn of(principal: &'a Principal) -> Names<'a> {
        let is_unsafe = |name: &str| name.is_empty() || name.bytes().any(|b| matches!(b, b'+' | b'#' | b'/'));
        let identity = principal.identity.as_deref();
        Names {
            client_id: &principal.client_id,
            identity,
            unsafe_names: is_unsafe(&principal.client_id) || identity.is_some_and(is_unsafe),
        }
    }
}

impl Trie {
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Adds a rule; its filter was checked. In a `pattern`, `%c` and `%u` are substituted.
    pub fn add(&mut self, filter: &str, pattern: bool, effect: Effect, rule: u32) {
        self.size += 1;
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => return node.hash.add(effect, rule),
                "+" => node.plus.get_or_insert_default(),
                level if pattern && (level.contains("%c") || level.contains("%u")) => {
                    node.substituted_child(segments(level))
                }
                level => node.literal.entry(level.into()).or_default(),
            };
        }
        node.exact.add(effect, rule);
    }

    /// Calls `found` for each place whose rules cover `topic`, which may be a topic or a filter: a filter is covered
    /// if everything that it matches is. The flag says that only denials count.
    pub fn visit<B>(
        &self,
        topic: &str,
        names: &Names<'_>,
        found: &mut impl FnMut(&Terminal, bool) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let root = Place { node: &self.root, top_of_system: topic.starts_with('$') };
        root.visit(Some(topic), names, names.unsafe_names, found)
    }
}

struct Place<'t> {
    node: &'t Node,
    /// The first level of a topic that begins with `$`: wildcards do not match it (MQTT-4.7.2-1).
    top_of_system: bool,
}

impl Place<'_> {
    fn visit<B>(
        &self,
        rest: Option<&str>,
        names: &Names<'_>,
        denials_only: bool,
        found: &mut impl FnMut(&Terminal, bool) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let node = self.node;
        if !self.top_of_system && !node.hash.is_empty() {
            found(&node.hash, denials_only)?;
        }
        let Some(rest) = rest else {
            return if node.exact.is_empty() {
                ControlFlow::Continue(())
            } else {
                found(&node.exact, denials_only)
            };
        };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        // `#` in a filter is covered by a `#` only, which was looked at.
        if level == "#" {
            return ControlFlow::Continue(());
        }
        let below = |node| Place { node, top_of_system: false };
        if let Some(plus) = &node.plus
            && !self.top_of_system
        {
            below(&**plus).visit(rest, names, denials_only, found)?;
        }
        // `+` in a filter is covered by `+` or `#`, by no name.
        if level == "+" {
            return ControlFlow::Continue(());
        }
        if !node.literal.is_empty()
            && let Some(child) = node.literal.get(level)
        {
            below(child).visit(rest, names, denials_only, found)?;
        }
        for (segments, child) in &node.substituted {
            let begins_system = matches!(&segments[0], Segment::Text(text) if text.starts_with('$'));
            if (!self.top_of_system || begins_system) && applies(segments, level, names) {
                below(child).visit(rest, names, denials_only, found)?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Node {
    fn substituted_child(&mut self, segments: Vec<Segment>) -> &mut Node {
        let index = match self.substituted.iter().position(|(known, _)| *known == segments) {
            Some(index) => index,
            None => {
                self.substituted.push((segments, Node::default()));
                self.substituted.len() - 1
            }
        };
        &mut self.substituted[index].1
    }
}

/// Whether a level of a pattern, with the names put in, is `level`.
fn applies(segments: &[Segment], level: &str, names: &Names<'_>) -> bool {
    let mut rest = level;
    for segment in segments {
        let text = match segment {
            Segment::Text(text) => &**text,
            Segment::ClientId => names.client_id,
            Segment::Identity => match names.identity {
                Some(identity) => identity,
                // As in Mosquitto: a pattern with %u is not for anonymous clients.
                None => return false,
            },
        };
        if names.unsafe_names {
            continue;
        }
        match rest.strip_prefix(text) {
            Some(left) => rest = left,
            None => return false,
        }
    }
    names.unsafe_names || rest.is_empty()
}

fn segments(level: &str) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut rest = level;
    while !rest.is_empty() {
        let at = [rest.find("%c"), rest.find("%u")].into_iter().flatten().min().unwrap_or(rest.len());
        if at > 0 {
            out.push(Segment::Text(rest[..at].into()));
        }
        match rest.as_bytes().get(at + 1) {
            Some(b'c') => out.push(Segment::ClientId),
            Some(_) => out.push(Segment::Identity),
            None => break,
        }
        rest = &rest[at + 2..];
    }
    out
}
