//! The proxies of `docs/proxies`, as they are shipped, in front of real nodes: nginx, HAProxy, Envoy, Traefik, Caddy.

mod check;
mod drain;
mod fake;
mod missing;
mod nodes;
mod page;
mod retries;
mod silence;
mod streams;

/// A test for each of the proxies: a module whose name is a sentence with theirs.
macro_rules! every_proxy {
    ($sentence:ident, $check:path) => {
        mod $sentence {
            use rivulet_tests::proxy::Software;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn nginx() {
                $check(Software::Nginx).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn haproxy() {
                $check(Software::Haproxy).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn envoy() {
                $check(Software::Envoy).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn traefik() {
                $check(Software::Traefik).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn caddy() {
                $check(Software::Caddy).await;
            }
        }
    };
}

every_proxy!(events_pass_at_once_through, crate::streams::pass);
every_proxy!(a_silent_stream_lives_longer_than_the_waits_of, crate::silence::outlive);
every_proxy!(nobody_is_refused_while_a_node_drains_behind, crate::drain::pass_over);
every_proxy!(a_publish_is_never_repeated_by, crate::retries::once);
every_proxy!(a_line_less_breaks_what_the_page_says_of, crate::missing::break_each);
