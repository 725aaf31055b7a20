//! Whose connections are meant: the members of a kick, and the parameters of the list of connections.

use ipnet::Ipv6Net;
use rivulet_node::{KickTarget, Limit, Scope};

use super::answer::{Problem, ProblemKind};

/// How they are called.
pub(super) const MEMBERS: [&str; 4] = ["subject", "ip", "topic", "subscriber"];

/// The longest subject, topic or matcher that there is, in bytes.
const TEXT_LEN_MAX: usize = 4096;

/// A target that is being read.
#[derive(Default)]
pub(super) struct Target(KickTarget);

impl Target {
    /// Reads a member.
    pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        let wrong = |rule: &str| {
            let detail = format!("{name} is {text:?}, and must be {rule}");
            Problem::new(ProblemKind::ParameterInvalid, detail).at(name)
        };
        let plain = |rule: &str| match text.len() {
            1..=TEXT_LEN_MAX => Ok(Some(text.to_owned())),
            _ => Err(Problem::new(ProblemKind::ParameterInvalid, format!("{name} must be {rule}")).at(name)),
        };
        match name {
            "subject" => {
                let rule = "1 to 4096 bytes, like sub:alice, key:publisher or ip:192.0.2.7";
                self.0.subject = plain(rule)?;
            }
            "ip" => match (text.parse(), network(text)) {
                (Ok(ip), _) => self.0.ip = Some(ip),
                (_, Some(scope)) => self.0.scope = Some((Limit::ConnectionsPerIp, scope)),
                _ => return Err(wrong("an IP address, or a /64 of IPv6 like 2001:db8::/64")),
            },
            "topic" => self.0.topic = plain("a topic or another matcher of 1 to 4096 bytes")?,
            "subscriber" => self.0.subscriber = Some(text.parse().map_err(|_| wrong("a UUID"))?),
            _ => {
                let detail = format!("there are {}", MEMBERS.join(", "));
                return Err(Problem::new(ProblemKind::ParameterUnknown, detail).at(name));
            }
        }
        Ok(())
    }

    /// What was read.
    pub(super) fn finish(self) -> KickTarget {
        self.0
    }
}

/// A network that limits count as one address, written as refusals and the log name it.
fn network(text: &str) -> Option<Scope> {
    let network: Ipv6Net = text.parse().ok()?;
    (network.prefix_len() == 64).then(|| Scope::new(network.trunc().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_address_or_a_network_that_counts_as_one() {
        let check = |text: &str, ip: Option<&str>, scope: Option<&str>| {
            let mut target = Target::default();
            let is_right = target.set("ip", text).is_ok();
            assert_eq!(is_right, ip.or(scope).is_some(), "{text}");
            let expected = KickTarget {
                ip: ip.map(|ip| ip.parse().unwrap()),
                scope: scope.map(|scope| (Limit::ConnectionsPerIp, Scope::new(scope))),
                ..KickTarget::default()
            };
            assert_eq!(target.finish(), expected, "{text}");
        };
        check("192.0.2.7", Some("192.0.2.7"), None);
        check("2001:db8::1", Some("2001:db8::1"), None);
        check("2001:db8::/64", None, Some("2001:db8::/64"));
        check("2001:DB8:0:0:1::2/64", None, Some("2001:db8::/64"));
        for wrong in
            ["2001:db8::/63", "2001:db8::1/128", "192.0.2.0/24", "192.0.2.7/32", "::/", "localhost", ""]
        {
            check(wrong, None, None);
        }
    }
}
