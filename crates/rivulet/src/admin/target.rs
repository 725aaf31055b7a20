//! Whose connections are meant: the members of a kick, and the parameters of the list of connections.

use rivulet_node::KickTarget;

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
            "ip" => self.0.ip = Some(text.parse().map_err(|_| wrong("an IP address"))?),
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
