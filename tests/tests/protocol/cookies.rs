//! Publications that a cookie authorizes: any page can make a browser send one, so the page must be an allowed one.

use rivulet_tests::{
    Backend, Request,
    tokens::{access, publisher},
};

const FLAGS: [&str; 2] = ["--publish-origin", "https://app.example.com"];

fn with_cookie(name: &str, token: &str) -> Request {
    Request::publish(&[("topic", "a"), ("data", "x")]).header("Cookie", &format!("{name}={token}"))
}

async fn a_cookie_needs_an_allowed_page(backend: Backend) {
    let hub = backend.hub_with(&FLAGS).await;
    let mut stream = hub.subscribe("topic=a").await;
    let old = || with_cookie("mercureAuthorization", &publisher(&["*"]));
    let new = || with_cookie("__Secure-mercure_access_token", &access(&[("publish", "exact", "a")]));
    for cookie in [&old as &dyn Fn() -> Request, &new] {
        for request in [
            cookie().header("Origin", "https://app.example.com"),
            cookie().header("Referer", "https://app.example.com/page?x=1"),
            cookie()
                .header("Origin", "https://app.example.com")
                .header("Referer", "https://evil.example.com/"),
        ] {
            let response = hub.send(&request).await;
            assert_eq!(response.status, 200, "{request:?}: {response:?}");
            assert_eq!(stream.data(1).await, ["x"]);
        }
        for request in [
            cookie(),
            cookie().header("Origin", "https://evil.example.com"),
            cookie().header("Origin", "null"),
            cookie().header("Origin", "http://app.example.com"),
            cookie().header("Origin", "https://app.example.com.evil.example.com"),
            cookie()
                .header("Origin", "https://evil.example.com")
                .header("Referer", "https://app.example.com/"),
            cookie().header("Referer", "https://evil.example.com/?https://app.example.com/"),
            cookie().header("Referer", "https://app.example.com@evil.example.com/"),
        ] {
            let response = hub.send(&request).await;
            assert!((400..=403).contains(&response.status), "{request:?}: {response:?}");
            response.expect_problem(response.status, "origin-not-allowed");
        }
    }
    hub.publish(&[("topic", "a"), ("data", "last")]).await;
    assert_eq!(stream.data(1).await, ["last"], "nothing of the refused came through");
}

async fn a_header_needs_no_page(backend: Backend) {
    let hub = backend.hub_with(&FLAGS).await;
    for origin in ["https://evil.example.com", "null"] {
        let request = Request::publish(&[("topic", "a")]).bearer(&publisher(&["*"])).header("Origin", origin);
        assert_eq!(hub.send(&request).await.status, 200, "browsers do not attach it by themselves: {origin}");
    }
}

async fn the_name_of_the_cookie_can_be_chosen(backend: Backend) {
    let hub = backend.hub_with(&["--cookie-name", "my_token", FLAGS[0], FLAGS[1]]).await;
    let token = access(&[("publish", "exact", "a")]);
    let request = with_cookie("my_token", &token).header("Origin", "https://app.example.com");
    assert_eq!(hub.send(&request).await.status, 200);
}

on_both_transports!(
    a_cookie_needs_an_allowed_page,
    a_header_needs_no_page,
    the_name_of_the_cookie_can_be_chosen
);
