//! `rivulet subscribe`: prints events, and after a break goes on where it was.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use clap::Args;
use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER};
use url::Url;

use crate::{
    client,
    event_stream::{Event, EventStream},
    exit::{Code, Failure},
};

/// The wait before the first attempt to reconnect, unless the hub says another.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait, whatever the hub says.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A stream that lived this long was a good one: the next wait is short again.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// How long the hub may take to begin its answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Prints the events of a subscription, and resumes it after a break.
#[derive(Args, Debug)]
#[command(about = "Prints the events of a subscription, and resumes it after a break")]
pub(crate) struct SubscribeArgs {
    /// URL of the hub
    #[arg(long, env = "RIVULET_URL", default_value = client::URL_DEFAULT)]
    url: String,
    /// Token; without it, only public updates, if the hub allows anonymous subscribers
    #[arg(long, env = "RIVULET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// 0.x: topic, URI Template, or *
    #[arg(long, conflicts_with_all = ["exact", "url_pattern"])]
    topic: Vec<String>,
    /// 1.0: topic, or *
    #[arg(long = "match", value_name = "TOPIC")]
    exact: Vec<String>,
    /// 1.0: URL Pattern
    #[arg(long = "match-urlpattern", value_name = "PATTERN")]
    url_pattern: Vec<String>,
    /// Begin after this event; earliest = with everything that is kept
    #[arg(long, value_name = "ID")]
    last_event_id: Option<String>,
    /// Print a JSON object per line, instead of the events' text
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "EVENTS")]
    count: Option<u64>,
    /// Do not reconnect: end when the stream ends
    #[arg(long)]
    once: bool,
}

/// Why a stream is not read any more.
enum Ended {
    /// All events that were asked for have been printed.
    Done,
    /// The connection broke or could not be made; it may be tried again.
    Broken(Failure),
    /// The hub asks to come back after this time, if it says one.
    Later(Failure, Option<Duration>),
}

struct Subscription {
    args: SubscribeArgs,
    url: Url,
    client: Client,
    last_event_id: Option<String>,
    retry: Option<Duration>,
    left: Option<u64>,
    was_open: bool,
}

/// Runs the command: until it is stopped, `--count` is reached, or the hub refuses.
pub(crate) async fn run(args: SubscribeArgs) -> Result<(), Failure> {
    let mut subscription = Subscription {
        url: url(&args)?,
        client: client::client()?,
        last_event_id: args.last_event_id.clone(),
        retry: None,
        left: args.count,
        was_open: false,
        args,
    };
    let mut attempts = 0;
    while subscription.left != Some(0) {
        let begun = Instant::now();
        let (failure, pause) = match subscription.read().await? {
            Ended::Done => break,
            Ended::Broken(failure) => (failure, None),
            Ended::Later(failure, pause) => (failure, pause),
        };
        // Who has never reached the hub has probably mistyped its URL.
        if subscription.args.once || !subscription.was_open {
            return Err(failure);
        }
        attempts = if begun.elapsed() > GOOD_LIFE { 0 } else { attempts + 1 };
        let wait = pause.unwrap_or_else(|| backoff(subscription.retry, attempts)).min(BACKOFF_MAX);
        // Standard error may be closed; that is no reason to stop.
        let _ = writeln!(std::io::stderr(), "rivulet: {failure}; again in {wait:.1?}");
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

impl Subscription {
    /// Connects once and prints what comes.
    async fn read(&mut self) -> Result<Ended, Failure> {
        let mut response = match self.connect().await? {
            Ok(response) => response,
            Err(ended) => return Ok(ended),
        };
        self.was_open = true;
        let mut stream = EventStream::resume(self.last_event_id.clone());
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if self.args.once => return Ok(Ended::Done),
                Ok(None) => return Ok(Ended::Broken(Failure::unavailable("the stream ended"))),
                Err(error) => {
                    let text = format!("the stream broke: {}", client::innermost(&error));
                    return Ok(Ended::Broken(Failure::unavailable(text)));
                }
            };
            if stream.push(&chunk).is_err() {
                return Err(Failure::new(Code::Data, "the hub sends an event that is too long"));
            }
            while let Some(event) = stream.next() {
                print(&event, self.args.json)?;
                self.left = self.left.map(|left| left - 1);
                if self.left == Some(0) {
                    return Ok(Ended::Done);
                }
            }
            self.last_event_id.clone_from(&stream.last_event_id);
            self.retry = stream.retry.or(self.retry);
        }
    }

    async fn connect(&self) -> Result<Result<Response, Ended>, Failure> {
        let mut request = self.client.get(self.url.clone()).header("Accept", "text/event-stream");
        if let Some(token) = &self.args.token {
            request = request.bearer_auth(token);
        }
        if let Some(id) = self.last_event_id.as_ref().filter(|id| !id.is_empty()) {
            request = request.header("Last-Event-ID", id);
        }
        let response = match tokio::time::timeout(HEAD_TIMEOUT, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_builder() => {
                return Err(Failure::usage(
                    "--token or --last-event-id holds characters that a header cannot",
                ));
            }
            Ok(Err(error)) => return Ok(Err(Ended::Broken(client::unreachable(&self.args.url, &error)))),
            Err(_) => {
                let text = format!("the hub at {} does not answer", self.args.url);
                return Ok(Err(Ended::Broken(Failure::unavailable(text))));
            }
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(Ok(response));
        }
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let failure = client::refusal(response).await;
        match status {
            StatusCode::TOO_MANY_REQUESTS => Ok(Err(Ended::Later(failure, pause.map(Duration::from_secs)))),
            status if status.is_server_error() => {
                Ok(Err(Ended::Later(failure, pause.map(Duration::from_secs))))
            }
            _ => Err(failure),
        }
    }
}

fn url(args: &SubscribeArgs) -> Result<Url, Failure> {
    let rule = || Failure::usage(format!("--url {:?} is not a URL of a hub", args.url));
    let mut url =
        Url::parse(&args.url).ok().filter(|url| url.scheme().starts_with("http")).ok_or_else(rule)?;
    if args.topic.is_empty() && args.exact.is_empty() && args.url_pattern.is_empty() {
        return Err(Failure::usage(
            "say what to subscribe to: --topic (0.x), --match or --match-urlpattern (1.0)",
        ));
    }
    let values = [("topic", &args.topic), ("match", &args.exact), ("match_urlpattern", &args.url_pattern)];
    let pairs = values.iter().flat_map(|(name, values)| values.iter().map(move |value| (*name, value)));
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url)
}

/// Doubles with each attempt that did not last; 50–100 % of it, so that a dead node's clients do not come at once.
fn backoff(retry: Option<Duration>, attempts: u32) -> Duration {
    let longest = retry.unwrap_or(BACKOFF_MIN).saturating_mul(1 << attempts.min(10)).min(BACKOFF_MAX);
    longest.mul_f64(rand::random_range(0.5..=1.0))
}

fn print(event: &Event, json: bool) -> Result<(), Failure> {
    let text = if json {
        let object = serde_json::json!({ "id": event.id, "type": event.event_type, "data": event.data });
        format!("{object}\n")
    } else {
        let mut text = String::new();
        if event.event_type != "message" {
            text = format!("event: {}\n", event.event_type);
        }
        text.push_str(&format!("id: {}\n", event.id));
        event.data.split('\n').for_each(|line| text.push_str(&format!("data: {line}\n")));
        text + "\n"
    };
    let mut out = std::io::stdout().lock();
    let result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    result.map_err(|error| Failure::new(Code::Io, format!("standard output: {error}")))
}
