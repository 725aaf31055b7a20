//! Tokens of subjects.

use jsonwebtoken::{Algorithm, Header};
use rivulet_tests::{
    Request,
    tokens::{PUBLISHER_KEY, SUBSCRIBER_KEY, sign},
};
use serde_json::{Value, json};

/// A 0.x token of a subject that may subscribe.
pub(crate) fn subscriber(subject: &str) -> String {
    subscriber_with(subject, &json!({}))
}

/// The same with more claims.
pub(crate) fn subscriber_with(subject: &str, more: &Value) -> String {
    signed(&json!({"mercure": {"subscribe": []}, "sub": subject}), more, SUBSCRIBER_KEY)
}

/// A 0.x token of a subject that may publish everything.
pub(crate) fn publisher(subject: &str) -> String {
    signed(&json!({"mercure": {"publish": ["*"]}, "sub": subject}), &json!({}), PUBLISHER_KEY)
}

/// A subscription to one topic, by a subject.
pub(crate) fn subscribe(topic: &str, subject: &str) -> Request {
    Request::subscribe(&format!("topic={topic}")).bearer(&subscriber(subject))
}

fn signed(claims: &Value, more: &Value, key: &str) -> String {
    let mut claims = claims.clone();
    for (name, value) in more.as_object().expect("an object of claims") {
        claims[name] = value.clone();
    }
    sign(&Header::new(Algorithm::HS256), &claims, key)
}
