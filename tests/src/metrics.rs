//! What a node says about itself in the Prometheus text format.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// Asks an admin listener. Blocks, for a second at most.
    ///
    /// # Errors
    /// When nobody answers, or not with 200.
    pub fn scrape(admin: SocketAddr) -> Result<Self, String> {
        let (status, body) = get(admin, "/metrics")?;
        if status == 200 { Ok(Self(body)) } else { Err(format!("/metrics answered {status}")) }
    }

    /// The sum of all samples of a metric whose labels hold `labels` (such as `reason="stalled"`, or nothing).
    /// `None` if there is no such sample.
    pub fn sum(&self, name: &str, labels: &str) -> Option<f64> {
        let values: Vec<f64> = self.samples(name, labels).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The text as it came.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn samples<'a>(&'a self, name: &'a str, labels: &'a str) -> impl Iterator<Item = f64> + 'a {
        self.0.lines().filter_map(move |line| {
            // Behind the value of a bucket a trace may stand.
            let (line, _) = line.split_once(" # ").unwrap_or((line, ""));
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix(name)?;
            let matches =
                rest.is_empty() && labels.is_empty() || rest.starts_with('{') && rest.contains(labels);
            if matches { value.parse().ok() } else { None }
        })
    }
}

/// A plain blocking `GET`, for places that cannot await.
///
/// # Errors
/// When nobody answers within a second.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let patience = Duration::from_secs(1);
    let read = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&address, patience)?;
        socket.set_read_timeout(Some(patience))?;
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        // Not to the end of input: chromedriver keeps connections open whatever it is asked.
        while !is_complete(&answer) {
            match socket.read(&mut buffer)? {
                0 => break,
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = read().map_err(|error| format!("GET {address}{path}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(format!("GET {path}: no head in {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(format!("GET {path}: no status in {head:?}"))?, body.to_owned()))
}

/// Whether an answer holds as many bytes as it announced.
fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .is_some_and(|length| body.len() >= length)
}
