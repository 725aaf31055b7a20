//! `/metrics`, for Prometheus.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE, web};

use super::{State, endpoint::Endpoint};
use crate::metrics;

/// The path of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::read("/metrics", "counters and gauges in the OpenMetrics text format", scrape)]
}

async fn scrape(state: web::Data<State>) -> HttpResponse {
    match state.metrics.render() {
        Ok(text) => HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
