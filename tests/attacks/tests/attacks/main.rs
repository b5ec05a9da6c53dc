//! Items 1 to 37, 40, 41 and 43 to 50 of the list of attacks, each against a node of its own. What each must cost at most
//! stands in its test.

mod bombs;
mod edges;
mod framing;
mod hoarding;
mod identity;
mod liars;
mod lockout;
mod memory;
mod protocol;
mod rights;
mod secure;
mod sessions;
mod store;
mod storm;
mod support;
mod websocket;
