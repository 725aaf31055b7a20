//! How a kick travels to all nodes, on the control channel: `K<kick> <target in JSON>`. What cannot be read kicks nobody:
//! a condition that this program does not know must not be left out. Who has kicked hears then that a node has not
//! answered. When it is said again, a line follows with how many microseconds ago it was told first, by Redis' clock. Other
//! lines are what a newer version adds, and are passed over.

use std::time::Duration;

use rivulet_core::fault::{self, Fault};
use rivulet_node::{KickTarget, Limit, Scope};
use serde::{Deserialize, Serialize};

use crate::unreadable::Cause;

/// The longest message: a target holds a subject, a topic and a scope.
const LEN_MAX: usize = 64 << 10;
/// The digits of a kick's number.
const NUMBER_LEN: usize = 16;

/// A target as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriber: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<std::net::IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<(String, String)>,
}

/// Writes a kick's number, as it stands in keys and messages.
pub(crate) fn number(kick: u64) -> String {
    format!("{kick:0NUMBER_LEN$x}")
}

/// Writes a message.
pub(crate) fn write(kick: u64, target: &KickTarget) -> String {
    let target = Target {
        subscriber: target.subscriber.map(|id| id.to_string()),
        subject: target.subject.clone(),
        ip: target.ip,
        topic: target.topic.clone(),
        scope: target
            .scope
            .as_ref()
            .map(|(limit, scope)| (limit.as_str().to_owned(), scope.as_str().to_owned())),
    };
    let target = serde_json::to_string(&target).expect("texts in a struct can always be written");
    let added = if fault::is(Fault::NextVersion) { "\nnext" } else { "" };
    format!("K{} {target}{added}", number(kick))
}

/// Reads what comes after the `K`.
pub(crate) fn parse(message: &[u8]) -> Result<(u64, KickTarget), Cause> {
    let (kick, target) = split(message).ok_or(Cause::Damaged)?;
    parse_target(target).map(|target| (kick, target)).ok_or(Cause::Newer)
}

/// The number and the target, as far as these are what every version writes: an object with something in it.
fn split(message: &[u8]) -> Option<(u64, &str)> {
    let message = std::str::from_utf8(message).ok().filter(|message| message.len() <= LEN_MAX)?;
    let (digits, target) = message.lines().next()?.split_once(' ')?;
    let is_number = digits.len() == NUMBER_LEN && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let kick = u64::from_str_radix(digits, 16).ok().filter(|_| is_number)?;
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(target).ok()?;
    (!object.is_empty()).then_some((kick, target))
}

fn parse_target(target: &str) -> Option<KickTarget> {
    let target: Target = serde_json::from_str(target).ok()?;
    let subscriber = target.subscriber.map(|id| uuid::Uuid::parse_str(&id)).transpose().ok()?;
    let scope = match target.scope {
        Some((name, scope)) => {
            let limit = Limit::ALL.into_iter().find(|limit| limit.as_str() == name)?;
            Some((limit, Scope::new(scope)))
        }
        None => None,
    };
    let target =
        KickTarget { subscriber, subject: target.subject, ip: target.ip, topic: target.topic, scope };
    (!target.is_empty()).then_some(target)
}

/// How long ago the kick was told first, if it is said again. It was just now where Redis' time was set back since then.
pub(crate) fn age(message: &[u8]) -> Option<Duration> {
    let mut lines = message.split(|byte| *byte == b'\n').skip(1);
    let micros: i64 = lines.find_map(|line| std::str::from_utf8(line).ok()?.parse().ok())?;
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let check = |target: KickTarget| {
            let message = write(0xabc, &target);
            assert_eq!(parse(&message.as_bytes()[1..]), Ok((0xabc, target)), "{message}");
        };
        check(KickTarget { subscriber: Some(uuid::Uuid::from_u128(7)), ..KickTarget::default() });
        check(KickTarget { subject: Some("sub:\"\n\u{0}ü".to_owned()), ..KickTarget::default() });
        check(KickTarget { ip: Some("2001:db8::1".parse().unwrap()), ..KickTarget::default() });
        check(KickTarget {
            topic: Some("https://example.com/{id}".to_owned()),
            scope: Some((Limit::ConnectionsPerIp, Scope::new("2001:db8::/64"))),
            ..KickTarget::default()
        });
    }

    #[test]
    fn what_is_said_again_has_an_age() {
        let check = |added: &str, expected: Option<u64>| {
            let target = KickTarget { subject: Some("a\nb".to_owned()), ..KickTarget::default() };
            let message = format!("{}{added}", write(7, &target));
            let message = &message.as_bytes()[1..];
            assert_eq!(parse(message), Ok((7, target)), "{added:?}");
            assert_eq!(age(message), expected.map(Duration::from_micros), "{added:?}");
        };
        check("", None);
        check("\n1500000", Some(1_500_000));
        check("\n1500000\nmore", Some(1_500_000));
        check("\nnext\n1500000", Some(1_500_000));
        check("\n-7", Some(0));
        check("\nx", None);
        check("\n", None);
    }

    #[test]
    fn what_is_not_ours_kicks_nobody() {
        let check = |message: &str| assert!(parse(message.as_bytes()).is_err(), "{message}");
        let number = "0000000000000001";
        check("");
        check(number);
        check(&format!("{number} "));
        check(&format!("{number} {{}}"));
        check(&format!("{number} null"));
        check(&format!("{number} {{\"subject\":7}}"));
        check(&format!("{number} {{\"subject\":\"a\",\"country\":\"b\"}}"));
        check(&format!("{number} {{\"subscriber\":\"x\"}}"));
        check(&format!("{number} {{\"ip\":\"x\"}}"));
        check(&format!("{number} {{\"scope\":[\"unknown\",\"x\"]}}"));
        check("1 {\"subject\":\"a\"}");
        check("+00000000000001 {\"subject\":\"a\"}");
        check(&format!("{number} {{\"subject\":\"{}\"}}", "x".repeat(LEN_MAX)));
        assert!(parse(b"0000000000000001 {\"subject\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_was_recorded_is_written_and_read_for_ever() {
        let target = KickTarget {
            subscriber: Some(uuid::Uuid::from_u128(7)),
            subject: Some("sub:a".to_owned()),
            ip: Some("192.0.2.1".parse().unwrap()),
            topic: Some("t".to_owned()),
            scope: Some((Limit::ConnectionsPerIp, Scope::new("192.0.2.1"))),
        };
        let recorded = "K0000000000000abc {\"subscriber\":\"00000000-0000-0000-0000-000000000007\",\
                        \"subject\":\"sub:a\",\"ip\":\"192.0.2.1\",\"topic\":\"t\",\
                        \"scope\":[\"connections_per_ip\",\"192.0.2.1\"]}";
        assert_eq!(write(0xabc, &target), recorded);
        assert_eq!(parse(&recorded.as_bytes()[1..]), Ok((0xabc, target)));
    }

    #[test]
    fn what_a_newer_version_asks_for_is_told_from_what_is_damaged() {
        let check =
            |message: &str, cause: Cause| assert_eq!(parse(message.as_bytes()), Err(cause), "{message}");
        let number = "0000000000000001";
        check(&format!("{number} {{\"subject\":\"a\",\"country\":\"b\"}}"), Cause::Newer);
        check(&format!("{number} {{\"scope\":[\"unknown\",\"x\"]}}"), Cause::Newer);
        check(&format!("{number} {{}}"), Cause::Damaged);
        check(&format!("{number} {{\"subject\":"), Cause::Damaged);
        check("1 {\"subject\":\"a\"}", Cause::Damaged);
    }
}
