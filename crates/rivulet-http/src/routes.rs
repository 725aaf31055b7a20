//! The paths of the hub, and what every answer carries that actix writes.

use actix_service::ServiceFactory;
use actix_web::{
    App, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    web,
};

use crate::{
    auth::Dialect,
    cors,
    head::SECURITY_HEADERS,
    hub::{HUB_PATH, Hub},
    landing::landing,
    metadata::{METADATA_PATH, metadata},
    problem::Problem,
    publish::publish,
    subscribe::subscribe,
};

/// The methods of pages and documents, for `Allow`.
const DOCUMENT_METHODS: &str = "GET, HEAD, OPTIONS";

/// The application of one worker.
pub(crate) fn app(
    hub: web::Data<Hub>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(hub.clone())
        .configure(|routes| {
            routes.service(hub_routes(&hub));
            routes.service(document_routes("/").route(web::get().to(landing)).route(web::head().to(landing)));
            if hub.speaks(Dialect::V1) {
                let document = document_routes(METADATA_PATH);
                routes.service(document.route(web::get().to(metadata)).route(web::head().to(metadata)));
            }
        })
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }))
        .wrap_fn(move |request, service| {
            let origin = request.headers().get(header::ORIGIN).cloned();
            let hub = hub.clone();
            let answer = service.call(request);
            async move {
                let mut answer = answer.await?;
                let refused = answer.response().error().and_then(|error| error.as_error::<Problem>());
                if let Some(problem) = refused {
                    hub.config.stats.count_refused(problem);
                }
                complete(answer.headers_mut(), &hub, origin.as_ref());
                if !hub.node.is_open() {
                    // Who keeps a connection would find it closed under a request when the node has stopped, and could not
                    // know whether that was published. So it goes elsewhere between two of them.
                    answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
                }
                Ok(answer)
            }
        })
}

fn hub_routes(hub: &Hub) -> actix_web::Resource {
    let mut routes = web::resource(HUB_PATH);
    if hub.takes_subscribers() {
        routes = routes.route(web::get().to(subscribe)).route(web::head().to(subscribe));
        if hub.speaks(Dialect::V1) {
            let query = Method::from_bytes(b"QUERY").expect("QUERY is a token");
            routes = routes.route(web::method(query).to(subscribe));
        }
    }
    if hub.takes_publishers() {
        routes = routes.route(web::post().to(publish));
    }
    let methods = hub.methods();
    with_others(routes, methods)
}

fn document_routes(path: &str) -> actix_web::Resource {
    with_others(web::resource(path), DOCUMENT_METHODS)
}

/// Answers `OPTIONS`, and every other method with what would be right.
fn with_others(routes: actix_web::Resource, methods: &'static str) -> actix_web::Resource {
    routes
        .route(web::method(Method::OPTIONS).to(move |hub: web::Data<Hub>, request: HttpRequest| async move {
            options(&hub, &request, methods)
        }))
        .default_service(web::to(move || async move {
            Err::<HttpResponse, _>(Problem::method_not_allowed(methods))
        }))
}

/// `OPTIONS`: a preflight if a page of another origin asks, else the methods.
fn options(hub: &Hub, request: &HttpRequest, methods: &'static str) -> HttpResponse {
    let mut answer = HttpResponse::NoContent();
    answer.insert_header((header::ALLOW, methods));
    let headers = request.headers();
    let allowed = hub.config.cors.headers(headers.get(header::ORIGIN));
    let is_allowed = allowed.iter().any(|(name, _)| *name == "Access-Control-Allow-Origin");
    if is_allowed && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        answer.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, cors::ALLOWED_METHODS));
        answer.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, cors::ALLOWED_HEADERS));
        answer.insert_header((header::ACCESS_CONTROL_MAX_AGE, cors::PREFLIGHT_AGE_SECS));
    }
    answer.finish()
}

/// Adds what every answer carries and this one does not have yet.
fn complete(headers: &mut HeaderMap, hub: &Hub, origin: Option<&HeaderValue>) {
    let security = SECURITY_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    for (name, value) in security.into_iter().chain(hub.config.cors.headers(origin)) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the tables hold header names");
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}
