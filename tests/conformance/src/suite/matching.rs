//! Which topic names a filter matches, and which filters are none.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE};
use crate::wire::subscribe;

super::tests! {
    the_multi_level_wildcard_stands_last_and_alone: ["4.7.1-1"] ["4.7.1-1"];
    the_single_level_wildcard_fills_its_level: ["4.7.1-2"] ["4.7.1-2"];
    wildcards_match_as_they_should: ["4.7.1-1" "4.7.1-2"] ["4.7.1-1" "4.7.1-2"];
    dollar_topics_are_not_matched_by_a_first_wildcard: ["4.7.2-1"] ["4.7.2-1"];
    one_character_is_enough: ["4.7.0-1"] ["4.7.3-1"];
    topics_are_not_normalised: ["3.10.4-4" "3.3.2-3"] ["4.7.3-4"];
}

/// Not granted: a failure in the SUBACK, or the end of the connection.
fn refuses_filter(ctx: &Context, filter: &str) -> Result<()> {
    let mut peer = ctx.join()?;
    peer.send(&subscribe(ctx.version, 1, &[], &[(filter, 0)]))?;
    match peer.hear(PATIENCE)? {
        Heard::Closed => Ok(()),
        Heard::Packet(Packet::Disconnect { reason: 0x80 | 0x81 | 0x82 | 0x8f, .. }) => peer.closed(&[]),
        Heard::Packet(Packet::SubAck { reasons, .. }) if reasons.iter().all(|reason| *reason >= 0x80) => {
            Ok(())
        }
        other => bail!("filter {filter:?} got {}", other.name()),
    }
}

fn the_multi_level_wildcard_stands_last_and_alone(ctx: &Context) -> Result<()> {
    for filter in ["a#", "a/b#", "a/#/b", "#/a", "##", "a/##", "#a", "+#"] {
        refuses_filter(ctx, &ctx.topic(filter))?;
    }
    refuses_filter(ctx, "#/")
}

fn the_single_level_wildcard_fills_its_level(ctx: &Context) -> Result<()> {
    for filter in ["a+", "+a", "a/b+/c", "a/+b", "++", "a/++/b"] {
        refuses_filter(ctx, &ctx.topic(filter))?;
    }
    refuses_filter(ctx, "+a")
}

fn wildcards_match_as_they_should(ctx: &Context) -> Result<()> {
    let topics = ["", "a", "a/b", "a/b/c", "/", "/a", "a/", "a//b", "b/a", "a/b/"];
    let cases: [(&str, &[&str]); 12] = [
        ("#", &["", "a", "a/b", "a/b/c", "/", "/a", "a/", "a//b", "b/a", "a/b/"]),
        ("+", &["", "a"]),
        ("+/+", &["a/b", "/", "/a", "a/", "b/a"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a//b", "a/b/"]),
        ("a/+", &["a/b", "a/"]),
        ("/+", &["/", "/a"]),
        ("+/", &["/", "a/"]),
        ("+/a", &["/a", "b/a"]),
        ("a/+/b", &["a//b"]),
        ("+/b/#", &["a/b", "a/b/c", "a/b/"]),
        ("a/b/+", &["a/b/c", "a/b/"]),
        ("+/+/#", &["a/b", "a/b/c", "/", "/a", "a/", "a//b", "b/a", "a/b/"]),
    ];
    let mut publisher = ctx.join()?;
    for (filter, expected) in cases {
        let mut peer = ctx.subscriber(&ctx.topic(filter), 0)?;
        let end = ctx.topic("marker/end/last");
        peer.subscribe(&end, 0)?;
        for topic in topics {
            publisher.publish(ctx.topic(topic), 0, topic)?;
        }
        publisher.publish(&end, 0, "end")?;
        let got: Vec<_> = peer.until("end")?.into_iter().map(|message| message.topic).collect();
        let expected: Vec<_> = expected.iter().map(|topic| ctx.topic(topic)).collect();
        ensure!(got == expected, "{filter} got {got:?}, expected {expected:?}");
        peer.leave()?;
    }
    Ok(())
}

fn dollar_topics_are_not_matched_by_a_first_wildcard(ctx: &Context) -> Result<()> {
    let tag = ctx.topic("end");
    let (root, _) = tag.split_once('/').unwrap_or((&tag, ""));
    let topic = format!("${root}/end");
    let mut broad = ctx.subscriber("+/end", 0)?;
    broad.subscribe("#", 0)?;
    let mut exact = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 0, "x")?;
    // A server may keep such topics to itself; if it passes them on, then to the exact filter only.
    publisher.publish(&tag, 0, "end")?;
    exact.subscribe(&tag, 0)?;
    publisher.publish(&tag, 0, "end")?;
    exact.until("end")?;
    loop {
        // Other tests' topics come too: the filters are as broad as can be.
        let message = broad.message()?;
        ensure!(!message.topic.starts_with('$'), "a wildcard matched {}", message.topic);
        if message.topic == tag {
            return Ok(());
        }
    }
}

fn one_character_is_enough(ctx: &Context) -> Result<()> {
    // Short names cannot be this test's own, so the payload is.
    let payload = ctx.topic("payload");
    for topic in ["a", "/", " "] {
        let mut peer = ctx.subscriber(topic, 0)?;
        peer.publish(topic, 0, &payload)?;
        peer.until(&payload)?;
    }
    let mut peer = ctx.join()?;
    for filter in ["+", "#"] {
        peer.subscribe(filter, 0)?;
    }
    refuses_filter(ctx, "")
}

fn topics_are_not_normalised(ctx: &Context) -> Result<()> {
    let mut publisher = ctx.join()?;
    // The last character of each pair: composed and decomposed, case, slashes, spaces, escapes.
    let pairs = [
        ("\u{e9}", "e\u{301}"),
        ("a", "A"),
        ("a/b", "a//b"),
        ("a", "a/"),
        ("a b", "a  b"),
        ("a b", "a%20b"),
        ("a/./b", "a/b"),
        ("a/../b", "b"),
        ("\u{212b}", "\u{c5}"),
        ("\u{fffd}", "?"),
    ];
    for (one, other) in pairs {
        for (filter, topic) in [(one, other), (other, one)] {
            let (filter, topic) = (ctx.topic(filter), ctx.topic(topic));
            let mut peer = ctx.subscriber(&filter, 0)?;
            publisher.publish(&topic, 0, "x")?;
            publisher.publish(&filter, 0, "marker")?;
            let message = peer.message()?;
            ensure!(message.topic == filter, "{filter:?} matched {:?}", message.topic);
            peer.leave()?;
        }
    }
    Ok(())
}
