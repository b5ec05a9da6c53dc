//! One event on a connection, as a broker saw it: what all recordings of traffic come down to.

use std::net::SocketAddr;

/// What happened on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// It was opened.
    Open,
    /// It had been open before the recording began.
    Midstream,
    /// One side has closed it.
    CloseFin,
    /// One side has reset it.
    CloseRst,
    /// The recording ended, and it was open still: nothing follows from that.
    End,
    /// Bytes that are no packet, or one that is not allowed there.
    Malformed,
    /// CONNECT.
    Connect,
    /// CONNACK.
    ConnAck,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
    /// SUBSCRIBE: one row a filter.
    Subscribe,
    /// SUBACK: one row a filter.
    SubAck,
    /// UNSUBSCRIBE: one row a filter.
    Unsubscribe,
    /// UNSUBACK.
    UnsubAck,
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

impl What {
    /// The word in the column `ev`.
    pub const WORDS: [(&'static str, What); 21] = [
        ("OPEN", What::Open),
        ("MIDSTREAM", What::Midstream),
        ("CLOSE_FIN", What::CloseFin),
        ("CLOSE_RST", What::CloseRst),
        ("END", What::End),
        ("MALFORMED", What::Malformed),
        ("CONNECT", What::Connect),
        ("CONNACK", What::ConnAck),
        ("PUBLISH", What::Publish),
        ("PUBACK", What::PubAck),
        ("PUBREC", What::PubRec),
        ("PUBREL", What::PubRel),
        ("PUBCOMP", What::PubComp),
        ("SUBSCRIBE", What::Subscribe),
        ("SUBACK", What::SubAck),
        ("UNSUBSCRIBE", What::Unsubscribe),
        ("UNSUBACK", What::UnsubAck),
        ("PINGREQ", What::PingReq),
        ("PINGRESP", What::PingResp),
        ("DISCONNECT", What::Disconnect),
        ("AUTH", What::Auth),
    ];

    /// What a word means.
    pub fn parse(word: &str) -> Option<What> {
        // Nearly every row is one of these two.
        match word {
            "PUBLISH" => Some(What::Publish),
            "PUBACK" => Some(What::PubAck),
            _ => What::WORDS.iter().find(|(known, _)| *known == word).map(|&(_, what)| what),
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
    /// The number of the connection.
    pub connection: u64,
    /// The client's end of it.
    pub source: SocketAddr,
    /// What happened.
    pub what: What,
    /// Whether the client did it, and not the broker.
    pub from_client: bool,
    /// The Client Identifier; empty where it is not known.
    pub client_id: &'a str,
    /// The User Name of a CONNECT; empty if there is none.
    pub user_name: &'a str,
    /// Keep Alive of a CONNECT, in seconds.
    pub keep_alive_s: u16,
    /// Clean Start of a CONNECT.
    pub clean_start: bool,
    /// Whether a CONNECT has a will.
    pub will: bool,
    /// QoS of a PUBLISH or a filter; 3 does not exist, and a client may have sent it.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// The Packet Identifier, 0 where there is none.
    pub packet_id: u16,
    /// The topic, the filter, or the topic of a CONNECT's will.
    pub topic: &'a str,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// The payload, or as much of it as the recording has.
    pub payload: &'a [u8],
    /// The reason or return code.
    pub code: Option<u8>,
}

impl<'a> Row<'a> {
    /// A row that says no more than what happened.
    pub fn new(at_us: u64, connection: u64, source: SocketAddr, what: What, from_client: bool) -> Row<'a> {
        Row {
            at_us,
            connection,
            source,
            what,
            from_client,
            client_id: "",
            user_name: "",
            keep_alive_s: 0,
            clean_start: true,
            will: false,
            qos: 0,
            retain: false,
            dup: false,
            packet_id: 0,
            topic: "",
            payload_len: 0,
            payload: &[],
            code: None,
        }
    }
}
