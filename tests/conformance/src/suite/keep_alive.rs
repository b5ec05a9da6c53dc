//! Keep alive: a silent client is let go after one and a half times the interval, a talking one is kept.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::peer::Peer;
use crate::wire::{Will, id};

super::tests! {
    a_silent_client_is_let_go @Slow: ["3.1.2-24"] ["3.1.2-11" "3.1.2-22" "3.1.2-21" "3.2.2-22"];
    a_client_that_talks_is_kept @Slow: ["3.1.2-24"] ["3.1.2-11"];
    without_keep_alive_silence_is_no_failure @Slow: ["3.1.2-24"] ["3.1.2-22"];
}

/// What the server wants in place of what the client said.
fn interval_s(peer: &Peer, asked: u16) -> u32 {
    peer.welcome.properties.number(id::SERVER_KEEP_ALIVE).unwrap_or(asked.into())
}

fn a_silent_client_is_let_go(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("will");
    let mut observer = ctx.subscriber(&topic, 0)?;
    let connect = ctx.connect().keep_alive(1).will(Will::new(&topic, "gone"));
    let mut peer = Peer::join(ctx, &connect)?;
    let interval = interval_s(&peer, 1);
    ensure!((1..=2).contains(&interval), "keep alive 1 became {interval}: not to be waited for");
    let start = Instant::now();
    peer.closed(&[0x8d, 0x80])?;
    let silence = start.elapsed();
    let least = Duration::from_secs(interval.into());
    ensure!(silence >= least, "let go after {silence:?}, before {least:?}");
    // Half a second more than the limit for a server that looks only now and then.
    let most = least * 3 / 2 + Duration::from_millis(1600);
    ensure!(silence <= most, "let go after {silence:?}, keep alive {interval} s");
    // As if the network had failed: the will is published.
    ensure!(observer.message()?.payload == b"gone", "another will came");
    Ok(())
}

fn a_client_that_talks_is_kept(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &ctx.connect().keep_alive(1))?;
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(400));
        // Any packet will do.
        if round % 2 == 0 {
            peer.ping()?;
        } else {
            peer.send(&ctx.publish(&ctx.topic("t"), "x").bytes())?;
        }
    }
    peer.ping()
}

fn without_keep_alive_silence_is_no_failure(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &ctx.connect().keep_alive(0))?;
    let imposed = interval_s(&peer, 0);
    ensure!(imposed != 1, "the server imposes a keep alive of a second");
    std::thread::sleep(Duration::from_millis(2500));
    peer.ping()
}
