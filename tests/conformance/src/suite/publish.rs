//! PUBLISH: flags, topic name, and what overlapping subscriptions receive.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{PUBACK, PUBREC, Will, field, frame, id, p1, pvar};

super::tests! {
    dup_is_not_propagated: ["3.3.1-2" "3.3.1-3"] ["3.3.1-2" "3.3.1-3"];
    qos_3_is_refused: ["3.3.1-4"] ["3.3.1-4"];
    topic_names_with_wildcards_are_refused: ["3.3.2-2" "4.7.3-1" "4.7.3-2"] ["3.3.2-2" "4.7.0-1"];
    an_empty_topic_name_is_refused: ["4.7.0-1"] ["4.7.3-1"];
    the_topic_name_is_the_first_field: ["3.3.2-1"] ["3.3.2-1"];
    topics_match_the_filters_they_are_sent_for: ["3.3.2-3"] ["3.3.2-3"];
    publishes_are_answered_by_qos: ["3.3.4-1"] ["3.3.4-1" "3.4.2-1" "3.5.2-1"];
    overlapping_subscriptions_get_the_maximum_qos: ["3.3.5-1"] ["3.3.4-2"];
    overlapping_subscription_identifiers_all_arrive: [] ["3.3.4-3" "3.3.4-4" "3.3.4-5"];
    a_subscription_identifier_from_a_client_is_refused: [] ["3.3.4-6"];
    unauthorised_publishes_are_acknowledged_or_end_the_connection: ["3.3.5-2"] ["3.4.2-1" "3.5.2-1"];
    the_longest_topic_name_arrives_unchanged_or_is_refused: [] ["4.7.3-3"];
}

fn dup_is_not_propagated(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    for granted in 0..3 {
        let mut peer = ctx.subscriber(&topic, granted)?;
        for qos in 1..3 {
            publisher.deliver(ctx.publish(&topic, "again").qos(qos).dup())?;
            let message = peer.message()?;
            ensure!(!message.dup, "DUP of a publisher's QoS {qos} reached a QoS {granted} subscriber");
            ensure!(message.qos == granted.min(qos), "QoS {} of {qos} and {granted}", message.qos);
        }
        peer.leave()?;
    }
    Ok(())
}

fn qos_3_is_refused(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    ctx.refuses("QoS 3", &ctx.publish(&topic, "x").qos(3).packet_id(1).bytes(), &[0x80, 0x81, 0x82, 0x9b])
}

fn topic_names_with_wildcards_are_refused(ctx: &Context) -> Result<()> {
    for topic in ["#", "+", "a/#", "a/+/b", "a+", "#a"] {
        let topic = ctx.topic(topic);
        for qos in 0..2 {
            let publish = ctx.publish(&topic, "x").qos(qos).packet_id(1);
            refused_topic(ctx, &topic, &publish.bytes())?;
        }
    }
    Ok(())
}

fn an_empty_topic_name_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("empty topic", &ctx.publish("", "x").bytes(), &[0x80, 0x81, 0x82, 0x90])?;
    ctx.refuses("empty topic", &ctx.publish("", "x").qos(1).packet_id(1).bytes(), &[0x80, 0x81, 0x82, 0x90])?;
    let mut peer = ctx.join()?;
    let bytes = crate::wire::subscribe(ctx.version, 1, &[], &[("", 0)]);
    peer.send(&bytes)?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::SubAck { reasons, .. }) if reasons[..] == [0x8f] => Ok(()),
        Heard::Packet(Packet::SubAck { reasons, .. }) if reasons[..] == [0x80] => Ok(()),
        Heard::Packet(Packet::Disconnect { reason: 0x80.., .. }) | Heard::Closed => Ok(()),
        other => bail!("an empty topic filter got {}", other.name()),
    }
}

/// The connection ends, or in MQTT 5 the acknowledgement says that the topic name is invalid.
fn refused_topic(ctx: &Context, topic: &str, publish: &[u8]) -> Result<()> {
    let mut peer = ctx.join()?;
    peer.send(publish)?;
    match peer.hear(PATIENCE)? {
        Heard::Closed => Ok(()),
        Heard::Packet(Packet::Disconnect { reason: 0x80 | 0x81 | 0x82 | 0x90, .. }) => peer.closed(&[]),
        Heard::Packet(Packet::Ack { kind: PUBACK | PUBREC, reason: 0x90, .. }) => Ok(()),
        other => bail!("topic {topic:?} got {}", other.name()),
    }
}

fn the_topic_name_is_the_first_field(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("\u{e4}/\u{20ac}/\u{1f600}");
    let mut peer = ctx.subscriber(&topic, 0)?;
    peer.publish(&topic, 0, "x")?;
    ensure!(peer.message()?.topic == topic, "the topic changed");
    let body = [&field([b'a', 0xff])[..], if ctx.is_v5() { &[0] } else { &[] }].concat();
    ctx.refuses("ill-formed topic", &frame(Peer::PUBLISH_FIRST, &body), &[0x80, 0x81, 0x82, 0x90])?;
    ctx.refuses("no topic at all", &frame(Peer::PUBLISH_FIRST, &[]), &[0x80, 0x81, 0x82])
}

fn topics_match_the_filters_they_are_sent_for(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    let mut publisher = ctx.join()?;
    peer.subscribe(ctx.topic("+/exact"), 0)?;
    peer.subscribe(ctx.topic("tree/#"), 0)?;
    for rest in ["a/exact", "exact", "a/b/exact", "tree", "tree/x/y", "trees/x", "a/exact/more", "end/exact"]
    {
        publisher.publish(ctx.topic(rest), 0, rest)?;
    }
    let before = peer.until("end/exact")?;
    let topics: Vec<&str> = before.iter().map(|message| message.topic.as_str()).collect();
    let expected = ["a/exact", "tree", "tree/x/y"].map(|rest| ctx.topic(rest));
    ensure!(topics == expected, "got {topics:?}, expected {expected:?}");
    Ok(())
}

fn publishes_are_answered_by_qos(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    for (rest, subscribed) in [("none", false), ("some", true)] {
        let topic = ctx.topic(rest);
        if subscribed {
            peer.subscribe(&topic, 0)?;
        }
        peer.publish(&topic, 0, "x")?;
        for qos in 1..3 {
            let reason = peer.deliver(ctx.publish(&topic, "x").qos(qos))?;
            let legal: &[u8] = if subscribed { &[0x00] } else { &[0x00, 0x10] };
            ensure!(legal.contains(&reason), "QoS {qos}, subscriber: {subscribed}: reason 0x{reason:02x}");
        }
    }
    peer.ping()?;
    let acks = peer.leftovers().into_iter().filter(|packet| matches!(packet, Packet::Ack { .. })).count();
    ensure!(acks == 0, "{acks} acknowledgements too many");
    Ok(())
}

fn overlapping_subscriptions_get_the_maximum_qos(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("a/b");
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut peer = ctx.join()?;
        let filters = [ctx.topic("a/+"), ctx.topic("#"), topic.clone()];
        for (filter, qos) in filters.iter().zip(order) {
            peer.subscribe(filter, qos)?;
        }
        let mut publisher = ctx.join()?;
        publisher.publish(&topic, 2, "x")?;
        publisher.publish(&topic, 2, "end")?;
        let mut copies = vec![peer.message()?];
        copies.extend(peer.until("end")?);
        let most = copies.iter().map(|message| message.qos).max();
        ensure!(most == Some(2) && copies.len() <= 3, "{} copies, maximum QoS {most:?}", copies.len());
        peer.leave()?;
    }
    Ok(())
}

fn overlapping_subscription_identifiers_all_arrive(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("a/b");
    let mut peer = ctx.join()?;
    if peer.welcome.properties.number(id::SUBSCRIPTION_ID_AVAILABLE) == Some(0) {
        let bytes = crate::wire::subscribe(ctx.version, 1, &pvar(id::SUBSCRIPTION_ID, 1), &[(&topic, 0)]);
        return ctx.refuses("a subscription identifier", &bytes, &[0xa1, 0x82]);
    }
    peer.subscribe_all(&pvar(id::SUBSCRIPTION_ID, 7), &[(&topic, 0)])?;
    peer.subscribe_all(&pvar(id::SUBSCRIPTION_ID, 268_435_455), &[(ctx.topic("a/+"), 0)])?;
    peer.subscribe_all(&pvar(id::SUBSCRIPTION_ID, 128), &[(ctx.topic("a/#"), 0)])?;
    peer.subscribe(ctx.topic("+/b"), 0)?;
    ctx.join()?.publish(&topic, 0, "x")?;
    let first = peer.message()?.properties.subscription_ids();
    let whole = [7, 128, 268_435_455];
    if first == whole {
        return Ok(());
    }
    // A copy for each subscription, each with the identifier of its own.
    let mut copies = vec![first];
    for _ in 1..4 {
        copies.push(peer.message()?.properties.subscription_ids());
    }
    copies.sort();
    ensure!(copies == [vec![], vec![7], vec![128], vec![268_435_455]], "identifiers {copies:?}");
    Ok(())
}

fn a_subscription_identifier_from_a_client_is_refused(ctx: &Context) -> Result<()> {
    let publish = ctx.publish(&ctx.topic("t"), "x").property(pvar(id::SUBSCRIPTION_ID, 1));
    ctx.refuses("subscription identifier", &publish.bytes(), &[0x80, 0x81, 0x82])
}

fn unauthorised_publishes_are_acknowledged_or_end_the_connection(ctx: &Context) -> Result<()> {
    // Topics of the server's own, the likeliest to be denied where everything else is allowed.
    for topic in ["$SYS/broker/version", "$CONTROL/x/v1", "$share/a/b"] {
        for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
            let mut peer = ctx.join()?;
            peer.send(&ctx.publish(topic, "x").qos(qos).packet_id(5).bytes())?;
            match peer.hear(PATIENCE)? {
                Heard::Packet(Packet::Ack { kind: answered, packet_id: 5, .. }) if answered == kind => {
                    peer.ping()?;
                }
                Heard::Packet(Packet::Disconnect { reason: 0x80.., .. }) => peer.closed(&[])?,
                Heard::Closed => {}
                other => bail!("QoS {qos} on {topic} got {}", other.name()),
            }
        }
    }
    Ok(())
}

fn the_longest_topic_name_arrives_unchanged_or_is_refused(ctx: &Context) -> Result<()> {
    let topic = format!("{}{}", ctx.topic(""), "x".repeat(65_535 - ctx.topic("").len()));
    let mut peer = ctx.subscriber(&ctx.topic("#"), 0)?;
    let mut publisher = ctx.join()?;
    publisher
        .send(&ctx.publish(&topic, "x").qos(1).packet_id(1).property(p1(id::PAYLOAD_FORMAT, 1)).bytes())?;
    match publisher.hear(PATIENCE)? {
        Heard::Packet(Packet::Ack { kind: PUBACK, packet_id: 1, reason: 0 | 0x10, .. }) => {
            ensure!(peer.message()?.topic == topic, "the topic changed");
        }
        Heard::Packet(Packet::Ack { kind: PUBACK, packet_id: 1, .. }) => {}
        Heard::Packet(Packet::Disconnect { reason: 0x80.., .. }) => publisher.closed(&[])?,
        Heard::Closed => {}
        other => bail!("a topic name of 65,535 bytes got {}", other.name()),
    }
    // A will is a PUBLISH too.
    let connect = ctx.connect().will(Will::new("#", "x"));
    ctx.refuses_first("a will topic with a wildcard", &connect.bytes())
}
