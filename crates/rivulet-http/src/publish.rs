//! `POST`: publishing one update, or a batch of them.

use actix_web::{HttpRequest, HttpResponse, http::header, web};

use crate::{
    access::{self, Access},
    auth::Purpose,
    batch,
    body::{self, MediaType},
    fields::Fields,
    form::Form,
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// Publishes what the body holds. The token is looked at before the body, so that strangers cannot make the hub
/// gather what they send.
pub(crate) async fn publish(
    hub: web::Data<Hub>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let access = authorize(&hub, &request).await?;
    match body::media_type(&request) {
        MediaType::Form => one(&hub, &request, payload, &access).await,
        MediaType::Ndjson => batch::publish(hub, &request, payload, access).await,
        MediaType::Missing | MediaType::Other => {
            let detail = "a publication has a body of type application/x-www-form-urlencoded, or \
                          application/x-ndjson for a batch";
            Err(Problem::new(ProblemKind::MediaTypeUnsupported, detail))
        }
    }
}

async fn authorize(hub: &Hub, request: &HttpRequest) -> Result<Access, Problem> {
    let query = Form::parse(request.query_string().as_bytes())?;
    let Some(access) = access::find(hub, request, &query, Purpose::Publish, None).await? else {
        return Err(access::token_missing(hub, hub.answering_dialect()));
    };
    access::check_page(hub, request, &access)?;
    Ok(access)
}

async fn one(
    hub: &Hub,
    request: &HttpRequest,
    payload: web::Payload,
    access: &Access,
) -> Result<HttpResponse, Problem> {
    let body = body::read(request, payload, hub.config.body_len_max, hub.config.body_timeout).await?;
    let form = Form::parse(&body)?;
    let update = Fields::of_form(&form).into_update(hub, access)?;
    drop((body, form));
    // The node goes on even if the publisher hangs up now and this future is dropped.
    let id = hub.node.publish(update).await?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8")).body(id))
}
