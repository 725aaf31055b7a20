//! `/debug/connections`, `/debug/topics` and `/debug/feed`: what the node holds at this moment, in pages.

use std::{net::IpAddr, str::FromStr as _, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use rivulet_node::inspect::{
    ConnectionInfo, ConnectionState, ConnectionsQuery, INSPECT_LEN_MAX, ListCursor, PartitionFeed, TopicInfo,
    TopicsQuery,
};
use serde::Serialize;

use super::{
    State, answer,
    answer::{Problem, ProblemKind},
    endpoint::{Endpoint, parameters},
    target::Target,
};

/// Entries of a page unless the request says it.
const LIMIT_DEFAULT: usize = 100;

/// The paths of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let connections = "the connections: ?subject= ?ip= ?topic= ?subscriber= ?state= ?limit=100 ?after=";
    let topics = "what is subscribed to, by worker and partition: ?topic= ?limit=100 ?after=";
    vec![
        Endpoint::read("/debug/connections", connections, list_connections),
        Endpoint::read("/debug/topics", topics, list_topics),
        Endpoint::read("/debug/feed", "how far each partition's feed is", show_feed),
    ]
}

/// A page of connections.
#[derive(Serialize)]
struct Connections {
    connections: Vec<Connection>,
    /// `after` of the next page.
    next: Option<String>,
}

#[derive(Serialize)]
struct Connection {
    subscriber: String,
    worker: u8,
    subject: Option<String>,
    ip: Option<IpAddr>,
    age_seconds: f64,
    state: &'static str,
    matchers: Vec<String>,
    matcher_count: usize,
    cursor: String,
    behind: bool,
    lag_seconds: f64,
    bytes_pending: usize,
    idle_seconds: f64,
    ends_in_seconds: Option<f64>,
    ends_as: &'static str,
}

impl From<ConnectionInfo> for Connection {
    fn from(info: ConnectionInfo) -> Self {
        Self {
            subscriber: info.subscriber.to_string(),
            worker: info.worker,
            subject: info.subject.map(|subject| subject.as_ref().to_owned()),
            ip: info.ip,
            age_seconds: info.age.as_secs_f64(),
            state: info.state.as_str(),
            matchers: info.matchers,
            matcher_count: info.matcher_count,
            cursor: info.cursor,
            behind: info.is_behind,
            lag_seconds: info.lag.as_secs_f64(),
            bytes_pending: info.bytes_pending,
            idle_seconds: info.idle.as_secs_f64(),
            ends_in_seconds: info.ends_in.as_ref().map(Duration::as_secs_f64),
            ends_as: info.ends_as.as_str(),
        }
    }
}

async fn list_connections(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let names = ["subject", "ip", "topic", "subscriber", "state", "limit", "after"];
    let [subject, ip, topic, subscriber, wanted, limit, after] = parameters(&request, names)?;
    let mut who = Target::default();
    for (name, text) in names.into_iter().zip([subject, ip, topic, subscriber]) {
        text.map_or(Ok(()), |text| who.set(name, &text))?;
    }
    let wanted = wanted.as_deref().map(state_of).transpose()?;
    let (limit, after) = (limit_of(limit.as_deref())?, after_of(after.as_deref())?);
    let query = ConnectionsQuery { who: who.finish(), state: wanted, after, limit };
    let page = state.node.connections(query).await;
    let connections = page.connections.into_iter().map(Connection::from).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(answer::json(StatusCode::OK, &Connections { connections, next }))
}

/// A page of topics.
#[derive(Serialize)]
struct Topics {
    topics: Vec<Topic>,
    /// `after` of the next page.
    next: Option<String>,
}

#[derive(Serialize)]
struct Topic {
    matcher: String,
    kind: &'static str,
    worker: u8,
    partition: u16,
    subscribers: usize,
    behind: usize,
    ring_len: usize,
    ring_bytes: usize,
    floor: String,
    last: String,
}

impl From<TopicInfo> for Topic {
    fn from(info: TopicInfo) -> Self {
        Self {
            matcher: info.matcher,
            kind: info.kind.as_str(),
            worker: info.worker,
            partition: info.partition.number(),
            subscribers: info.subscribers,
            behind: info.behind,
            ring_len: info.ring_len,
            ring_bytes: info.ring_bytes,
            floor: info.floor,
            last: info.last,
        }
    }
}

async fn list_topics(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [topic, limit, after] = parameters(&request, ["topic", "limit", "after"])?;
    let (limit, after) = (limit_of(limit.as_deref())?, after_of(after.as_deref())?);
    let page = state.node.topics(TopicsQuery { topic, after, limit }).await;
    let topics = page.topics.into_iter().map(Topic::from).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(answer::json(StatusCode::OK, &Topics { topics, next }))
}

#[derive(Serialize)]
struct Feed {
    transport: &'static str,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: u16,
    live: bool,
    stale_seconds: Option<f64>,
    stale_reason: Option<String>,
    verified: String,
    verified_age_seconds: f64,
}

impl From<PartitionFeed> for Partition {
    fn from(feed: PartitionFeed) -> Self {
        Self {
            partition: feed.partition.number(),
            live: feed.stale.is_none(),
            stale_seconds: feed.stale.as_ref().map(|stale| stale.since.as_secs_f64()),
            stale_reason: feed.stale.map(|stale| stale.reason),
            verified: feed.verified,
            verified_age_seconds: feed.age.as_secs_f64(),
        }
    }
}

async fn show_feed(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    let partitions = state.node.feed().await.into_iter().map(Partition::from).collect();
    let feed = Feed { transport: state.node.transport_name(), partitions };
    Ok(answer::json(StatusCode::OK, &feed))
}

fn wrong(name: &str, text: &str, rule: &str) -> Problem {
    let detail = format!("{name} is {text:?}, and must be {rule}");
    Problem::new(ProblemKind::ParameterInvalid, detail).at(name)
}

fn state_of(text: &str) -> Result<ConnectionState, Problem> {
    let states = ConnectionState::ALL;
    let state = states.into_iter().find(|state| state.as_str() == text);
    state.ok_or_else(|| {
        wrong("state", text, &format!("one of {}", states.map(|state| state.as_str()).join(", ")))
    })
}

fn limit_of(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    let limit = text.parse().ok().filter(|limit| (1..=INSPECT_LEN_MAX).contains(limit));
    limit.ok_or_else(|| wrong("limit", text, &format!("a whole number from 1 to {INSPECT_LEN_MAX}")))
}

fn after_of(text: Option<&str>) -> Result<Option<ListCursor>, Problem> {
    let after = text.map(|text| {
        ListCursor::from_str(text).map_err(|_| wrong("after", text, "what the page before named as next"))
    });
    after.transpose()
}
