//! A path of the admin listener: what answers there, what does not, and the line that `/` has for it.

use actix_web::{Handler, HttpRequest, Resource, Responder, Route, guard, web};

use super::answer::{Problem, ProblemKind};

/// A path that is served.
pub(super) struct Endpoint {
    path: &'static str,
    about: &'static str,
    resource: Resource,
}

impl Endpoint {
    /// A path that is read; `about` says in a few words what is found there.
    pub(super) fn read<F, Args>(path: &'static str, about: &'static str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let read = guard::Any(guard::Get()).or(guard::Head());
        let resource = web::resource(path).route(web::route().guard(read).to(handler));
        Self { path, about, resource: resource.default_service(refusal("GET, HEAD")) }
    }

    /// A path that is read, and whose state is put.
    pub(super) fn change<F, Args, G, Put>(path: &'static str, about: &'static str, handler: F, put: G) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
        G: Handler<Put>,
        Put: actix_web::FromRequest + 'static,
        G::Output: Responder + 'static,
    {
        let read = guard::Any(guard::Get()).or(guard::Head());
        let resource = web::resource(path).route(web::route().guard(read).to(handler));
        let resource = resource.route(web::put().to(put));
        Self { path, about, resource: resource.default_service(refusal("GET, HEAD, PUT")) }
    }

    /// A path that is posted to.
    pub(super) fn write<F, Args>(path: &'static str, about: &'static str, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: actix_web::FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let resource = web::resource(path).route(web::post().to(handler));
        Self { path, about, resource: resource.default_service(refusal("POST")) }
    }
}

/// Answers methods that a path does not have.
fn refusal(allow: &'static str) -> Route {
    web::to(move || async move { Err::<&str, _>(Problem::method_not_allowed(allow)) })
}

/// Serves these paths, `/` with a line for each of them, and a refusal everywhere else.
pub(super) fn serve(config: &mut web::ServiceConfig, endpoints: Vec<Endpoint>) {
    let width = endpoints.iter().map(|endpoint| endpoint.path.len()).max().unwrap_or_default();
    let lines = endpoints.iter().map(|Endpoint { path, about, .. }| format!("{path:width$}  {about}\n"));
    let list: String = lines.collect();
    let index = Endpoint::read("/", "this list", move || {
        let list = list.clone();
        async move { list }
    });
    for endpoint in endpoints.into_iter().chain([index]) {
        config.service(endpoint.resource);
    }
    config.default_service(web::to(|| async { Err::<&str, _>(Problem::not_found()) }));
}

/// The parameters of a request, which may be these and no others, each once: a misspelt one, or one of two, would seem to
/// be obeyed.
pub(super) fn parameters<const N: usize>(
    request: &HttpRequest,
    known: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in url::form_urlencoded::parse(request.query_string().as_bytes()) {
        match known.iter().position(|known| *known == name) {
            Some(index) if values[index].is_some() => return Err(Problem::repeated(&name)),
            Some(index) => values[index] = Some(value.into_owned()),
            None => {
                let detail = match known.join(", ") {
                    none if none.is_empty() => "this path takes no parameters".to_owned(),
                    names => format!("this path takes {names}"),
                };
                return Err(Problem::new(ProblemKind::ParameterUnknown, detail).at(name));
            }
        }
    }
    Ok(values)
}
