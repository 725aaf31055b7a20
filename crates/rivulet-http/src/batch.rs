//! Batches: `application/x-ndjson`, an update per line with the names of the form's fields; `topic` is a string or an
//! array, `private` a boolean, `retry` a number or digits. The answer has a line per line, in order: `{"id": …}`, or
//! `{"error": …}` with a problem. Blank lines are skipped on both sides.
//!
//! Updates are published one after the other, so that their order is that of the lines. Once the transport fails, the
//! lines after are refused without a try: each would wait, and one that got through would overtake. A line that a rate
//! refuses is no such failure: lines after it are tried, since theirs may be other topics.

use actix_web::{HttpResponse, http::header, web};
use rivulet_node::{AppendError, trace};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Instant};

use crate::{
    access::Access,
    body::{self, Body},
    fields::Fields,
    hub::{CurrentHub, Hub},
    problem::{Document, Problem},
    problem_kind::ProblemKind,
    publish,
    request::Request,
    request_span, retry,
};

/// The most updates of one batch: together they must not keep a connection busy for longer than a second or two.
pub(crate) const LINES_MAX: usize = 1000;

/// A line as it is sent. Other members are ignored, as other form fields are.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, borrow)]
    topic: Topics<'a>,
    #[serde(default, borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(default)]
    private: Option<bool>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow, rename = "type")]
    event_type: Option<Cow<'a, str>>,
    #[serde(default)]
    retry: Option<Retry>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"topic\" is a string or an array of strings")]
enum Topics<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    #[serde(borrow)]
    Many(Vec<Cow<'a, str>>),
}

impl Default for Topics<'_> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"retry\" is a number of milliseconds")]
enum Retry {
    Number(u64),
    Digits(String),
}

/// A line of the answer.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer<'a> {
    Id(&'a str),
    Error(Document<'a>),
}

/// Publishes a batch.
pub(crate) async fn publish(
    hub: CurrentHub,
    request: &Request,
    payload: web::Payload,
    access: Access,
) -> Result<HttpResponse, Problem> {
    let bounds = (hub.config.batch_len_max, &access.client.subject);
    let Body { bytes, memory } = body::read(&hub, request, payload, bounds).await?;
    let lines = lines(&bytes).count();
    if lines > LINES_MAX {
        let detail =
            format!("a batch has at most {LINES_MAX} lines, this one has {lines}; nothing was published");
        return Err(Problem::new(ProblemKind::LinesTooMany, detail));
    }
    // A task of its own, which goes on if the publisher hangs up; it ends by itself, since every line does.
    let publication = actix_rt::spawn(trace::carried(async move {
        let answers = publish_lines(&hub, &bytes, &access).await;
        drop(memory);
        answers
    }));
    let answers = publication.await.map_err(|_| {
        let detail = "the batch was interrupted; some of its updates may be published";
        Problem::new(ProblemKind::NodeClosing, detail).retry_after(retry::elsewhere())
    })?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/x-ndjson")).body(answers))
}

fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

async fn publish_lines(hub: &Hub, body: &[u8], access: &Access) -> Vec<u8> {
    let mut answers = Vec::new();
    let mut broken: Option<Problem> = None;
    for line in lines(body) {
        let begun = Instant::now();
        let published = match &broken {
            Some(problem) => Err(problem.clone()),
            None => match update_of(line, hub, access) {
                Ok(update) => {
                    let rates = publish::rates(hub, access, &update);
                    hub.node.publish(update, None, rates).await.map_err(|error| {
                        let is_broken = matches!(error, AppendError::Transport(_));
                        let problem = Problem::from(error);
                        if is_broken {
                            request_span::breaks_off(&problem);
                            broken = Some(problem.clone());
                        }
                        problem
                    })
                }
                Err(problem) => Err(problem),
            },
        };
        hub.config.stats.count_publish(begun.elapsed(), published.as_ref().err());
        let answer = match &published {
            Ok(id) => Answer::Id(id),
            Err(problem) => {
                hub.config.stats.count_refused(problem);
                Answer::Error(problem.document())
            }
        };
        serde_json::to_writer(&mut answers, &answer).expect("strings and numbers are written to memory");
        answers.push(b'\n');
    }
    answers
}

fn update_of(line: &[u8], hub: &Hub, access: &Access) -> Result<rivulet_core::Update, Problem> {
    if line.len() > hub.config.body_len_max {
        let detail =
            format!("a line has at most {} bytes, this one has {}", hub.config.body_len_max, line.len());
        return Err(Problem::new(ProblemKind::BodyTooLong, detail));
    }
    let invalid =
        |why: String| Problem::new(ProblemKind::LineInvalid, format!("a line is a JSON object: {why}"));
    // serde would take an array for a struct as well, whose order of members is nobody's business.
    if line.first() != Some(&b'{') {
        return Err(invalid("this one is something else".into()));
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| invalid(error.to_string()))?;
    fields_of(line).into_update(hub, access)
}

fn fields_of(line: Line<'_>) -> Fields<'_> {
    let unless_empty = |text: &Cow<'_, str>| !text.is_empty();
    Fields {
        topics: match line.topic {
            Topics::One(topic) => vec![topic],
            Topics::Many(topics) => topics,
        },
        data: line.data.unwrap_or_default(),
        private: line.private.unwrap_or_default(),
        id: line.id.filter(unless_empty),
        event_type: line.event_type.filter(unless_empty),
        retry: line.retry.map(|retry| match retry {
            Retry::Number(ms) => ms.to_string().into(),
            Retry::Digits(text) => text.into(),
        }),
    }
}
