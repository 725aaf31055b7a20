//! A keep-alive connection that posts to a hub and waits for each answer: batches before a measurement, and single
//! updates of a publisher that tries again.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::json;

use crate::{head::Head, payload::Stamp};

/// Longest wait for a step: longer than a hub takes to say that Redis is away.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Bytes per read.
const READ_LEN: usize = 64 * 1024;
/// The longest answer that is read.
const ANSWER_LEN_MAX: usize = 8 * 1024 * 1024;
/// Updates of a batch: a hub takes a thousand lines.
const BATCH_LEN: usize = 1_000;

/// See the module.
pub(crate) struct Poster {
    hub: SocketAddr,
    token: String,
    stream: TcpStream,
}

/// Status and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Poster {
    pub(crate) fn connect(hub: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&hub, STEP_MAX).context("connecting a publisher")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_MAX))?;
        stream.set_write_timeout(Some(STEP_MAX))?;
        Ok(Self { hub, token: token.to_owned(), stream })
    }

    /// Sends a request with these header lines, each with its end, and waits for the answer.
    pub(crate) fn post(&mut self, headers: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let mut request = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}\
             Content-Length: {}\r\n\r\n",
            self.hub,
            self.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).context("sending a publish request")?;
        self.read_answer()
    }

    fn read_answer(&mut self) -> anyhow::Result<Answer> {
        let (mut input, mut buffer) = (Vec::new(), vec![0; READ_LEN]);
        loop {
            if let Some(answer) = parse(&input)? {
                return Ok(answer);
            }
            match self.stream.read(&mut buffer).context("reading the answer to a publish request")? {
                0 => bail!("the hub ended a publisher's connection"),
                len => input.extend_from_slice(&buffer[..len]),
            }
            if input.len() > ANSWER_LEN_MAX {
                bail!("the answer to a publish request has more than {ANSWER_LEN_MAX} bytes");
            }
        }
    }

    /// Publishes updates in batches, one after the other; answers their ids in the same order. All must be accepted.
    pub(crate) fn publish_all(
        &mut self,
        updates: impl Iterator<Item = (String, Stamp)>,
    ) -> anyhow::Result<Vec<String>> {
        let (mut ids, mut updates) = (Vec::new(), updates.peekable());
        while updates.peek().is_some() {
            let mut body = Vec::new();
            for (topic, stamp) in updates.by_ref().take(BATCH_LEN) {
                let mut data = Vec::new();
                stamp.append_data(&mut data);
                let line = json!({ "topic": topic, "data": String::from_utf8_lossy(&data) });
                serde_json::to_writer(&mut body, &line)?;
                body.push(b'\n');
            }
            let answer = self.post("Content-Type: application/x-ndjson\r\n", &body)?;
            if answer.status != 200 {
                bail!("a batch was refused with {}:\n{}", answer.status, answer.body);
            }
            for line in answer.body.lines() {
                let line: serde_json::Value = serde_json::from_str(line)?;
                let id = line["id"].as_str().with_context(|| format!("an update was refused: {line}"))?;
                ids.push(id.to_owned());
            }
        }
        Ok(ids)
    }
}

/// The answer, when it is complete.
fn parse(input: &[u8]) -> anyhow::Result<Option<Answer>> {
    let head = match Head::parse(input) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(None),
        Err(error) => bail!("a publisher received no HTTP head: {error:?}"),
    };
    let body_len = head.content_length.context("the answer to a publish request has no Content-Length")?;
    let Some(body) = input.get(head.len..head.len + body_len) else { return Ok(None) };
    let status = head.second_word().parse().context("a status that is no number")?;
    Ok(Some(Answer { status, body: String::from_utf8_lossy(body).into_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_complete() {
        let input = b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\n#123";
        for len in 0..input.len() {
            assert!(parse(&input[..len]).unwrap().is_none(), "{len} bytes");
        }
        let answer = parse(input).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "#123"));
    }
}
