//! `POST`: publishing one update, which may be repeated safely with a key, or a batch of them.

use std::{borrow::Cow, sync::Arc, time::Instant};

use actix_web::{HttpResponse, http::header, web};

use rivulet_core::{IdempotencyKey, Update};
use rivulet_node::{Rate, trace};

use crate::{
    access::{self, Access},
    auth::Purpose,
    batch,
    body::{self, Body, MediaType},
    fields::Fields,
    form::Form,
    hub::{CurrentHub, Hub},
    problem::Problem,
    problem_kind::ProblemKind,
    request::Request,
    request_span, retry,
};

/// The header that makes a publication safe to repeat.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Publishes what the body holds. The token is looked at before the body, so that strangers cannot make the hub
/// gather what they send.
pub(crate) async fn publish(
    hub: CurrentHub,
    request: Request,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let span = request_span::begin(&hub, &request);
    let answer = span.within(take(hub.clone(), &request, payload)).await;
    request_span::tell(&hub, &span, request_span::answered(&span, answer))
}

async fn take(hub: CurrentHub, request: &Request, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let access = authorize(&hub, request).await?;
    match body::media_type(request) {
        MediaType::Form => one(hub, request, payload, &access).await,
        MediaType::Ndjson if request.headers().contains_key(IDEMPOTENCY_KEY) => {
            Err(invalid_key("a key stands for one update, not for a batch: publish the updates one by one"))
        }
        MediaType::Ndjson => batch::publish(hub, request, payload, access).await,
        MediaType::Missing | MediaType::Other => {
            let detail = "a publication has a body of type application/x-www-form-urlencoded, or \
                          application/x-ndjson for a batch";
            Err(Problem::new(ProblemKind::MediaTypeUnsupported, detail))
        }
    }
}

async fn authorize(hub: &Hub, request: &Request) -> Result<Access, Problem> {
    let query = Form::parse(request.query().as_bytes())?;
    let Some(access) = access::find(hub, request, &query, Purpose::Publish, None).await? else {
        return Err(access::token_missing(hub, hub.answering_dialect()));
    };
    access::check_page(hub, request, &access)?;
    Ok(access)
}

async fn one(
    hub: CurrentHub,
    request: &Request,
    payload: web::Payload,
    access: &Access,
) -> Result<HttpResponse, Problem> {
    let key = idempotency_key(request)?.map(|key| key.of(&access.verified.publisher()));
    let bounds = (hub.config.body_len_max, &access.client.subject);
    let body = body::read(&hub, request, payload, bounds).await?;
    let (begun, stats) = (Instant::now(), Arc::clone(&hub.config.stats));
    let published = append(hub, body, key, access).await;
    stats.count_publish(begun.elapsed(), published.as_ref().err());
    let id = published?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8")).body(id))
}

/// Appends the update that a body holds; answers its id.
async fn append(
    hub: CurrentHub,
    Body { bytes, memory }: Body,
    key: Option<IdempotencyKey>,
    access: &Access,
) -> Result<String, Problem> {
    let form = Form::parse(&bytes)?;
    let update = Fields::of_form(&form).into_update(&hub, access)?;
    drop((bytes, form));
    let rates = rates(&hub, access, &update);
    // A task of its own, so that the memory counts until the update has been handed over, even if the publisher hangs
    // up now; it ends by itself, since every append does.
    let publication = actix_rt::spawn(trace::carried(async move {
        let published = hub.node.publish(update, key, rates).await;
        drop(memory);
        published
    }));
    let published = publication.await.map_err(|_| {
        let detail = "the publication was interrupted; the update may be published";
        Problem::new(ProblemKind::NodeClosing, detail).retry_after(retry::elsewhere())
    })?;
    Ok(published?)
}

/// What an update has to pass.
pub(crate) fn rates(hub: &Hub, access: &Access, update: &Update) -> Vec<Rate> {
    hub.config.limits.to_publish(&access.client, &access.verified.overrides, &update.topics)
}

fn idempotency_key(request: &Request) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_key("send one Idempotency-Key header"));
    }
    let text =
        value.to_str().map_err(|_| invalid_key("an idempotency key has visible ASCII characters only"))?;
    match IdempotencyKey::parse(text) {
        Ok(key) => Ok(Some(key)),
        Err(error) => Err(invalid_key(error.to_string())),
    }
}

fn invalid_key(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::IdempotencyKeyInvalid, detail).at(IDEMPOTENCY_KEY)
}
