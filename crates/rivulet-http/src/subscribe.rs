//! `GET`, `HEAD` and `QUERY`: opening a stream.

use std::{
    convert::Infallible,
    time::{Instant, SystemTime},
};

use actix_web::{
    HttpResponse,
    body::None as NoBody,
    http::{Method, StatusCode, header::HeaderName},
    web,
};
use rivulet_core::Grants;
use rivulet_node::{Client, Holding, Overrides, Reservation, SubscribeError, SubscribeRequest, trace::Span};

use crate::{
    access::{self, Access},
    auth::{Dialect, Purpose},
    body::{self, MediaType},
    form::Form,
    head::{self, Headers},
    hub::{CurrentHub, Hub},
    limit_problem,
    problem::Problem,
    problem_kind::ProblemKind,
    request::Request,
    request_span,
    wish::Wish,
};

/// What a subscriber asks for, read and authorized.
struct Asked {
    /// When its request had come.
    begun: Instant,
    dialect: Dialect,
    /// The last id as it was sent.
    last_event_id: Option<String>,
    request: SubscribeRequest,
    client: Client,
    overrides: Overrides,
}

/// What a subscriber may receive, until when, and whose limits count.
struct Rights {
    grants: Grants,
    expires_at: Option<SystemTime>,
    client: Client,
    overrides: Overrides,
}

/// Opens a stream. If this has an answer it is a refusal, or that to `HEAD`: a stream's answer is written by its seat.
pub(crate) async fn subscribe(
    hub: CurrentHub,
    request: Request,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let span = request_span::begin(&hub, &request);
    let answer = span.within(take(&hub, &request, payload, &span)).await;
    request_span::answered(&span, answer)
}

async fn take(
    hub: &Hub,
    request: &Request,
    payload: web::Payload,
    span: &Span,
) -> Result<HttpResponse, Problem> {
    // Before anything costs: a node that is full must not verify the tokens of everybody who comes back.
    hub.node.check_room().map_err(|error| limit_problem::not_seated(&hub.node, error))?;
    let asked = ask(hub, request, payload).await?;
    if request.method() == Method::HEAD {
        let (_, headers) = reserve(hub, request, asked).await?;
        return Ok(head_alone(&headers));
    }
    match open(hub, request, asked, span).await? {}
}

/// Reads and authorizes what the subscriber asks for.
async fn ask(hub: &Hub, request: &Request, payload: web::Payload) -> Result<Asked, Problem> {
    let begun = Instant::now();
    let mut form = Form::parse(request.query().as_bytes())?;
    // A QUERY speaks 1.0, so its token can be looked at before the body: strangers must not make the hub gather what
    // they send.
    let mut rights = None;
    if is_query(request) {
        rights = Some(authorized(hub, request, &form, Dialect::V1).await?);
        unite(hub, request, payload, &mut form).await?;
    }
    let wish = Wish::read(hub, request, &form)?;
    if wish.dialect == Dialect::V0 && is_query(request) {
        let detail = "QUERY is of dialect 1.0: use \"match\" or \"match_urlpattern\" with it";
        return Err(Problem::new(ProblemKind::DialectsMixed, detail).at("topic"));
    }
    if wish.last_event_id.is_some() {
        // A crowd that comes back should not pay with its rates to hear that it is one, nor cost more than it must. (The token
        // of a QUERY has been looked at, since it stands for the body.)
        hub.node.check_replays().map_err(|error| limit_problem::not_seated(&hub.node, error))?;
    }
    let Rights { grants, expires_at, client, overrides } = match rights {
        Some(rights) => rights,
        None => authorized(hub, request, &form, wish.dialect).await?,
    };
    let (matchers, last_event_id) = (wish.matchers(hub)?, wish.resume_after(hub.node.partitions()));
    let dialect = wish.dialect;
    let request = SubscribeRequest { matchers, grants, last_event_id, expires_at, dialect };
    Ok(Asked { begun, dialect, last_event_id: wish.last_event_id, request, client, overrides })
}

async fn authorized(hub: &Hub, request: &Request, query: &Form, dialect: Dialect) -> Result<Rights, Problem> {
    request_span::part("authorize", authorize(hub, request, query, dialect)).await
}

/// What the subscriber may receive.
async fn authorize(hub: &Hub, request: &Request, query: &Form, dialect: Dialect) -> Result<Rights, Problem> {
    match access::find(hub, request, query, Purpose::Subscribe, Some(dialect)).await? {
        Some(Access { verified, client, .. }) => Ok(Rights {
            expires_at: verified.expires_at,
            grants: verified.grants,
            client,
            overrides: verified.overrides,
        }),
        None if hub.config.anonymous => Ok(Rights {
            grants: Grants::default(),
            expires_at: None,
            client: access::anonymous(hub, request),
            overrides: Overrides::default(),
        }),
        None => Err(access::token_missing(hub, dialect)),
    }
}

fn is_query(request: &Request) -> bool {
    request.method().as_str() == "QUERY"
}

/// Unites the query string with the form in the body: `QUERY` is for lists that are too long for a URL.
async fn unite(hub: &Hub, request: &Request, payload: web::Payload, form: &mut Form) -> Result<(), Problem> {
    let right = "a QUERY has a body of type application/x-www-form-urlencoded";
    let media_type = body::media_type(request);
    if matches!(media_type, MediaType::Ndjson | MediaType::Other) {
        return Err(Problem::new(ProblemKind::MediaTypeUnsupported, right));
    }
    // Whose token it is is not known yet: it may stand in the body.
    let subject = access::anonymous(hub, request).subject;
    let body = body::read(hub, request, payload, (hub.config.body_len_max, &subject)).await?;
    if media_type == MediaType::Missing && !body.bytes.is_empty() {
        // RFC 10008 §2.3: a request that does not say what its body is, is malformed.
        return Err(Problem::new(ProblemKind::MediaTypeMissing, right));
    }
    form.extend(&body.bytes)
}

/// Takes what the subscriber needs of the hub's limits, then a seat, and writes the headers that go with it.
async fn reserve(hub: &Hub, request: &Request, asked: Asked) -> Result<(Reservation, Headers), Problem> {
    let Asked { dialect, last_event_id, request: wanted, client, overrides, .. } = asked;
    let needed = || hub.config.limits.to_subscribe(&client, &overrides, &wanted.matchers);
    let admitted = hub.node.admit(needed()).await;
    let permit = admitted.map_err(|error| limit_problem::not_admitted(error, needed))?;
    hub.config.stats.count_admitted();
    let reserved = hub.worker.reserve(wanted, Some(Holding { client, permit })).await;
    let reservation = reserved.map_err(|error| match error {
        SubscribeError::TokenExpired => access::token_expired(hub, dialect),
        error => limit_problem::not_seated(&hub.node, error),
    })?;
    let resumed = reservation.resumed().zip(last_event_id.as_deref());
    let headers = head::stream_headers(hub, request, dialect, resumed);
    Ok((reservation, headers))
}

/// Seats the subscriber. Never returns once it has: actix drops the connection's state, this future included.
async fn open(hub: &Hub, request: &Request, asked: Asked, span: &Span) -> Result<Infallible, Problem> {
    let taker = request.taker();
    if tokio::time::timeout(hub.config.disconnect_timeout, taker.flushed()).await.is_err() {
        let detail = "read the answers to the requests before this one on its connection first";
        return Err(Problem::new(ProblemKind::ConnectionBusy, detail));
    }
    let (begun, dialect) = (asked.begun, asked.dialect);
    let (reservation, headers) = reserve(hub, request, asked).await?;
    let head = head::stream_head(request.version(), &headers);
    if let Some(socket) = taker.take() {
        request_span::begins_stream(span);
        reservation.open(socket, head);
        hub.config.stats.count_subscribe(dialect, begun.elapsed());
    }
    std::future::pending().await
}

/// The answer to `HEAD`: what `GET` would say, without a length, since a stream has none.
fn head_alone(headers: &Headers) -> HttpResponse {
    let mut response = HttpResponse::with_body(StatusCode::OK, NoBody::new()).map_into_boxed_body();
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(HeaderName::from_bytes(name.as_bytes()).expect("a constant"), value.clone());
    }
    response
}
