//! The values of single settings: what each may be, and how that is said.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use url::Url;

use super::LogFormat;
use crate::{logs::CheckedFilter, memory::MemoryMax, quantity};

pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| "must be an IP address and a port, like 127.0.0.1:3000, 0.0.0.0:80 or [::]:3000")
}

pub(super) fn hub_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url =
        url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty());
    url.ok_or("must be an http or https URL without user name, query and fragment")
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let max = rivulet_node::WORKERS_MAX;
    if text == "auto" {
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        return Ok(NonZeroUsize::new(cpus.min(max)).unwrap_or(NonZeroUsize::MIN));
    }
    text.parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= max)
        .ok_or(format!("must be auto or 1 to {max}"))
}

pub(super) fn write_deadline(text: &str) -> Result<Duration, String> {
    let deadline = quantity::duration(text)?;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&deadline);
    let rule = "must be 1s to 10m: without it, readers that stop would hold their place for ever";
    if fits { Ok(deadline) } else { Err(rule.to_owned()) }
}

pub(super) fn count(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "must be a whole number, at least 1")
}

pub(super) fn connections_max(text: &str) -> Result<Option<usize>, &'static str> {
    match text {
        "auto" => Ok(None),
        text => text
            .parse()
            .ok()
            .filter(|max| *max > 0)
            .map(Some)
            .ok_or("must be auto or a whole number, at least 1"),
    }
}

pub(super) fn sized(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let size = quantity::size(text)?;
    if (min..=max).contains(&size) { Ok(size) } else { Err(format!("must be {min} to {max} bytes")) }
}

/// Less than the program takes by itself would refuse everybody for ever.
const MEMORY_MIN: usize = 64 << 20;

pub(super) fn memory_max(text: &str) -> Result<MemoryMax, String> {
    if text == "auto" {
        return Ok(MemoryMax::Auto);
    }
    match quantity::size(text) {
        Ok(0) => Ok(MemoryMax::Unlimited),
        Ok(bytes) if bytes >= MEMORY_MIN => Ok(MemoryMax::Bytes(bytes as u64)),
        _ => Err("must be auto, 0 (no limit) or a number of bytes from 64MiB on, like 512MiB".to_owned()),
    }
}

pub(super) fn cookie_name(text: &str) -> Result<String, &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(token);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 characters that RFC 6265 allows in a cookie's name")
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be pretty or json"),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, &'static str> {
    CheckedFilter::parse(text).map(CheckedFilter::into_text)
}

/// `0` is at once.
pub(super) fn duration_up_to(text: &str, max: Duration) -> Result<Duration, String> {
    let duration = quantity::duration(text)?;
    if duration <= max { Ok(duration) } else { Err(format!("must be at most {} s", max.as_secs())) }
}

pub(super) fn start_wait(text: &str) -> Result<Duration, String> {
    duration_up_to(text, Duration::from_secs(24 * 60 * 60))
}

/// `0` is off.
pub(super) fn duration_or_off(text: &str) -> Result<Option<Duration>, String> {
    const MIN: Duration = Duration::from_secs(1);
    match quantity::duration(text)? {
        Duration::ZERO => Ok(None),
        short if short < MIN => Err(format!("must be 0 (off) or at least {MIN:?}")),
        duration => Ok(Some(duration)),
    }
}
