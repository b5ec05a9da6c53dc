use super::*;

fn ban(subject: &str, until_s: Option<u64>) -> Ban {
    let subject = BanSubject::parse(subject).unwrap();
    Ban { subject, reason: "test".into(), by: "tester".into(), at_s: 1, until_s }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_banned_by_the_longest_network() {
    let mut bans = Bans::new(10);
    bans.insert(ban("network:10.0.0.0/8", None), 1).unwrap();
    bans.insert(ban("network:10.1.0.0/16", Some(50)), 1).unwrap();
    bans.insert(ban("network:2001:db8::5", None), 1).unwrap();
    assert_eq!(bans.of_address(ip("10.1.2.3"), 49).map(|ban| ban.until_s), Some(Some(50)));
    assert_eq!(bans.of_address(ip("10.1.2.3"), 50).map(|ban| ban.until_s), Some(None), "the wider one stays");
    assert!(bans.is_address_banned(ip("::ffff:10.9.9.9"), 1), "a mapped address is the IPv4 address");
    assert!(bans.is_address_banned(ip("2001:db8::ffff"), 1), "an IPv6 address stands for its /64");
    assert!(!bans.is_address_banned(ip("2001:db8:0:1::5"), 1) && !bans.is_address_banned(ip("11.0.0.1"), 1));
}

#[test]
fn clients_are_banned_by_each_of_their_names() {
    let fingerprint = "ab".repeat(32);
    let mut bans = Bans::new(10);
    bans.insert(ban("client_id:pump", None), 1).unwrap();
    bans.insert(ban("identity:mallory", Some(100)), 1).unwrap();
    bans.insert(ban(&format!("certificate:{}", fingerprint.to_uppercase()), None), 1).unwrap();
    assert!(bans.of_client("pump", None, None, 5).is_some());
    assert!(bans.of_client("x", Some("mallory"), None, 99).is_some());
    assert!(bans.of_client("x", Some("mallory"), None, 100).is_none(), "it has ended");
    assert!(bans.of_client("x", Some("alice"), Some(&fingerprint), 5).is_some());
    assert!(bans.of_client("mallory", Some("pump"), None, 5).is_none(), "a name is not another kind of name");
    assert!(bans.remove(&BanSubject::ClientId("pump".into())).is_some());
    assert!(bans.of_client("pump", None, None, 5).is_none());
}

#[test]
fn the_set_is_bounded_and_a_ban_can_still_be_changed() {
    let mut bans = Bans::new(2);
    bans.insert(ban("client_id:a", None), 1).unwrap();
    bans.insert(ban("client_id:b", Some(9)), 1).unwrap();
    assert_eq!(bans.insert(ban("client_id:c", None), 1), Err(BanError::Full(2)));
    bans.insert(ban("client_id:b", Some(20)), 1).unwrap();
    assert!(bans.expire(9, 10).is_empty(), "the old end does not count any more");
    assert_eq!(bans.expire(20, 10).len(), 1);
    bans.insert(ban("client_id:c", None), 1).unwrap();
    assert_eq!(bans.len(), 2);
}

#[test]
fn what_cannot_be_banned_is_said() {
    let mut bans = Bans::new(2);
    assert!(matches!(BanSubject::parse("network:0.0.0.0/0"), Err(BanError::Everybody(_))));
    assert!(matches!(BanSubject::parse("certificate:abc"), Err(BanError::Fingerprint)));
    assert!(matches!(BanSubject::parse("client_id:"), Err(BanError::Text(_))));
    for wrong in ["", "pump", "host:x", "network:10.0.0.0/40"] {
        assert!(matches!(BanSubject::parse(wrong), Err(BanError::Subject(_))), "{wrong}");
    }
    assert_eq!(bans.insert(ban("client_id:a", Some(5)), 5), Err(BanError::Past));
    let long = Ban { reason: "x".repeat(2000).into(), ..ban("client_id:a", None) };
    assert!(matches!(bans.insert(long, 1), Err(BanError::Text(_))));
    let everybody = Ban { subject: BanSubject::Network("::/0".parse().unwrap()), ..ban("client_id:a", None) };
    assert!(matches!(bans.insert(everybody, 1), Err(BanError::Everybody(_))));
}

#[test]
fn pages_go_through_all_of_them_once() {
    let mut bans = Bans::new(100);
    for i in 0..25 {
        bans.insert(ban(&format!("network:10.0.{i}.0/24"), None), 1).unwrap();
        bans.insert(ban(&format!("identity:user{i}"), None), 1).unwrap();
    }
    let mut seen = Vec::new();
    while let page = bans.page(seen.last().map(|ban: &Ban| &ban.subject), 7)
        && !page.is_empty()
    {
        seen.extend(page);
    }
    assert_eq!(seen, bans.iter().cloned().collect::<Vec<_>>());
    assert_eq!(seen.len(), 50);
}

#[test]
fn a_ban_is_written_and_read_as_json() {
    let ban = ban("network:192.0.2.0/24", Some(7));
    let json = serde_json::to_string(&ban).unwrap();
    assert_eq!(
        json,
        r#"{"subject":{"kind":"network","value":"192.0.2.0/24"},"reason":"test","by":"tester","at_s":1,"until_s":7}"#
    );
    assert_eq!(serde_json::from_str::<Ban>(&json).unwrap(), ban);
    assert_eq!(BanSubject::parse(&ban.subject.key()).unwrap(), ban.subject);
}
