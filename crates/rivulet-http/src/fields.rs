//! The fields of an update as publishers send them, and the rules that make an [`Update`] of them.

use std::borrow::Cow;

use rivulet_core::{EventId, EventType, Topic, Update, update::UPDATE_TOPICS_MAX};

use crate::{
    access::{self, Access},
    auth::Dialect,
    form::Form,
    hub::Hub,
    problem::Problem,
    problem_kind::ProblemKind,
};

/// The event type that dialect 1.0 keeps for the hub's own subscription events.
const RESERVED_TYPE: &str = "mercure";

/// Fields as they were sent: decoded, not checked. Empty ids, types and retry times count as absent.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    pub(crate) topics: Vec<Cow<'a, str>>,
    pub(crate) data: Cow<'a, str>,
    pub(crate) private: bool,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) event_type: Option<Cow<'a, str>>,
    pub(crate) retry: Option<Cow<'a, str>>,
}

impl<'a> Fields<'a> {
    /// The fields of a form. Where one is repeated that may stand once only, the first counts.
    pub(crate) fn of_form(form: &'a Form) -> Self {
        let first = |name| form.all(name).next().filter(|value| !value.is_empty()).map(Cow::Borrowed);
        Self {
            topics: form.all("topic").map(Cow::Borrowed).collect(),
            data: first("data").unwrap_or_default(),
            private: form.all("private").next().is_some(),
            id: first("id"),
            event_type: first("type"),
            retry: first("retry"),
        }
    }

    /// Checks everything, the publisher's right last, so that what a right token would still get wrong is said first.
    pub(crate) fn into_update(self, hub: &Hub, access: &Access) -> Result<Update, Problem> {
        let dialect = access.verified.dialect;
        let update = Update {
            topics: topics(&self.topics, hub, dialect)?.into(),
            id: self.id.as_deref().map(event_id).transpose()?,
            event_type: self.event_type.as_deref().map(|text| event_type(text, dialect)).transpose()?,
            retry_ms: self.retry.as_deref().map(retry_ms).transpose()?,
            private: self.private,
            data: self.data.into_owned().into(),
            trace: None,
        };
        if access.verified.grants.may_publish(&update.topics) {
            return Ok(update);
        }
        let granted = &access.verified.grants.publish;
        let missing = update.topics.iter().find(|topic| !granted.iter().any(|grant| grant.matches(topic)));
        let missing = missing.map_or("", Topic::as_str);
        Err(access::insufficient(hub, dialect, format!("the token does not allow to publish to {missing:?}")))
    }
}

fn topics(texts: &[Cow<'_, str>], hub: &Hub, dialect: Dialect) -> Result<Vec<Topic>, Problem> {
    if texts.is_empty() {
        let detail = "an update needs at least one \"topic\"; the first is the canonical one";
        return Err(Problem::new(ProblemKind::TopicMissing, detail).at("topic"));
    }
    if texts.len() > UPDATE_TOPICS_MAX {
        let detail =
            format!("an update has at most {UPDATE_TOPICS_MAX} topics, this one has {}", texts.len());
        return Err(Problem::new(ProblemKind::TopicsTooMany, detail).at("topic"));
    }
    let mut topics: Vec<Topic> = Vec::with_capacity(texts.len());
    for text in texts {
        let topic = Topic::parse(text)
            .map_err(|error| Problem::new(ProblemKind::TopicInvalid, error.to_string()).at("topic"))?;
        if hub.reserved.contains(&topic) {
            return Err(Problem::topic_reserved(dialect, topic.as_str()));
        }
        if !topics.contains(&topic) {
            topics.push(topic);
        }
    }
    Ok(topics)
}

fn event_id(text: &str) -> Result<EventId, Problem> {
    EventId::parse(text).map_err(|error| Problem::new(ProblemKind::IdInvalid, error.to_string()).at("id"))
}

fn event_type(text: &str, dialect: Dialect) -> Result<EventType, Problem> {
    if dialect == Dialect::V1 && text == RESERVED_TYPE {
        let detail = "\"mercure\" is the type of the hub's own subscription events";
        return Err(Problem::new(ProblemKind::TypeReserved, detail).at("type"));
    }
    EventType::parse(text)
        .map_err(|error| Problem::new(ProblemKind::TypeInvalid, error.to_string()).at("type"))
}

fn retry_ms(text: &str) -> Result<u64, Problem> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        let detail =
            format!("a retry time is a number of milliseconds, ASCII digits only, at most {}", u64::MAX);
        Problem::new(ProblemKind::RetryInvalid, detail).at("retry")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_times_are_digits_only() {
        for (text, expected) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("+1", None),
            ("-1", None),
            ("1.5", None),
            ("1s", None),
            ("٣", None),
        ] {
            assert_eq!(retry_ms(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_type_mercure_is_reserved_in_dialect_1_0_only() {
        assert!(event_type("mercure", Dialect::V0).is_ok());
        assert!(event_type("mercure", Dialect::V1).is_err());
        assert!(event_type("mercury", Dialect::V1).is_ok());
        assert!(event_type("a\nb", Dialect::V0).is_err());
    }

    #[test]
    fn empty_fields_count_as_absent_but_private_does_not() {
        let form = Form::parse(b"topic=a&id=&type=&retry=&private=&data=").unwrap();
        let fields = Fields::of_form(&form);
        assert!(
            fields.private && fields.id.is_none() && fields.event_type.is_none() && fields.retry.is_none()
        );
        assert_eq!(fields.data, "");
    }
}
