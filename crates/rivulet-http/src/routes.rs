//! The paths of the hub, and what every answer carries that actix writes.

use actix_service::ServiceFactory;
use actix_web::{
    App, HttpMessage as _, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    guard::{Guard, GuardContext, fn_guard},
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
    hub::{CurrentHub, HUB_PATH, Hub, Hubs},
    landing::landing,
    metadata::{METADATA_PATH, metadata},
    problem::Problem,
    publish::publish,
    request::Request,
    subscribe::subscribe,
};

/// The methods of pages and documents, for `Allow`.
const DOCUMENT_METHODS: &str = "GET, HEAD, OPTIONS";

/// All that requests are routed by, beside their method.
const PATHS: [&str; 3] = ["/", HUB_PATH, METADATA_PATH];

/// The application of one worker.
pub(crate) fn app(
    hubs: web::Data<Hubs>,
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
        .configure(|routes| {
            routes.service(hub_routes());
            routes.service(document_routes("/").route(web::get().to(landing)).route(web::head().to(landing)));
            let document = document_routes(METADATA_PATH).guard(now(|hub| hub.speaks(Dialect::V1)));
            routes.service(document.route(web::get().to(metadata)).route(web::head().to(metadata)));
        })
        .default_service(web::to(|| async { Err::<HttpResponse, _>(Problem::not_found()) }))
        .wrap_fn(move |mut routed, service| {
            let request = Request::take(&mut routed, &PATHS);
            let origin = request.headers().get(header::ORIGIN).cloned();
            // Here, once: whatever is replaced while it is under way, a request sees one configuration.
            let hub = hubs.current();
            routed.extensions_mut().insert(hub.clone());
            routed.extensions_mut().insert(request);
            let answer = service.call(routed);
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

/// Which of these there are depends on the configuration of each request.
fn hub_routes() -> actix_web::Resource {
    let subscribers = || now(Hub::takes_subscribers);
    let query = Method::from_bytes(b"QUERY").expect("QUERY is a token");
    let routes = web::resource(HUB_PATH)
        .route(web::get().guard(subscribers()).to(subscribe))
        .route(web::head().guard(subscribers()).to(subscribe))
        .route(
            web::method(query)
                .guard(now(|hub| hub.takes_subscribers() && hub.speaks(Dialect::V1)))
                .to(subscribe),
        )
        .route(web::post().guard(now(Hub::takes_publishers)).to(publish));
    with_others(routes, Hub::methods)
}

/// Whether something holds under the configuration of a request.
fn now(holds: fn(&Hub) -> bool) -> impl Guard {
    fn_guard(move |context: &GuardContext<'_>| {
        context.req_data().get::<CurrentHub>().is_some_and(|hub| holds(hub))
    })
}

fn document_routes(path: &str) -> actix_web::Resource {
    with_others(web::resource(path), |_| DOCUMENT_METHODS)
}

/// Answers `OPTIONS`, and every other method with what would be right.
fn with_others(routes: actix_web::Resource, methods: fn(&Hub) -> &'static str) -> actix_web::Resource {
    routes
        .route(web::method(Method::OPTIONS).to(move |hub: CurrentHub, request: Request| async move {
            options(&hub, &request, methods(&hub))
        }))
        .default_service(web::to(move |hub: CurrentHub| async move {
            Err::<HttpResponse, _>(Problem::method_not_allowed(methods(&hub)))
        }))
}

/// `OPTIONS`: a preflight if a page of another origin asks, else the methods.
fn options(hub: &Hub, request: &Request, methods: &'static str) -> HttpResponse {
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
