//! One publisher: a keep-alive connection that sends publish requests, ahead of their answers if asked to.

use std::{io::ErrorKind, net::SocketAddr};

use anyhow::{Context, bail};
use mio::{Registry, Token};

use crate::{
    approach::Approach,
    head::Head,
    payload::{DATA_LEN, Stamp},
    wire::Wire,
};

/// A publisher's connection.
pub(crate) struct Publisher {
    wire: Wire,
    /// The request up to the content length, which is the same every time.
    preamble: Vec<u8>,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Requests sent and not answered yet.
    pub(crate) outstanding: u32,
    /// The body of the last answer: an update's id.
    pub(crate) last_id: String,
}

impl Publisher {
    /// Begins to connect.
    pub(crate) fn connect(
        hub: SocketAddr,
        approach: &Approach,
        token: &str,
        registry: &Registry,
        id: Token,
    ) -> anyhow::Result<Self> {
        let wire = Wire::connect(hub, None, approach, registry, id).context("connecting a publisher")?;
        wire.set_nodelay()?;
        let preamble = format!(
            "POST /.well-known/mercure HTTP/1.1\r\nHost: {hub}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
        );
        Ok(Self {
            wire,
            preamble: preamble.into_bytes(),
            out: Vec::new(),
            input: Vec::new(),
            outstanding: 0,
            last_id: String::new(),
        })
    }

    /// Sends an update of the usual length, or as much of the request as the socket takes now.
    pub(crate) fn publish(&mut self, topic: &str, stamp: Stamp) -> anyhow::Result<()> {
        self.publish_long(topic, stamp, DATA_LEN)
    }

    /// The same with data of this length, if that is longer.
    pub(crate) fn publish_long(&mut self, topic: &str, stamp: Stamp, data_len: usize) -> anyhow::Result<()> {
        let data_len = data_len.max(DATA_LEN);
        let body_len = "topic=&data=".len() + topic.len() + data_len;
        self.out.extend_from_slice(&self.preamble);
        self.out.extend_from_slice(format!("{body_len}\r\n\r\ntopic={topic}&data=").as_bytes());
        stamp.append_data(&mut self.out);
        self.out.resize(self.out.len() + data_len - DATA_LEN, b'-');
        self.outstanding += 1;
        self.flush()
    }

    /// Sends what is left of the requests.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while !self.out.is_empty() {
            let written = self.wire.write(&self.out).context("sending an update")?;
            if written == 0 {
                break;
            }
            self.out.drain(..written);
        }
        self.wire.flush().context("sending an update")
    }

    /// Reads answers; says how many there were. Anything but 200 is an error of the measurement.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> anyhow::Result<u32> {
        let mut answers = 0;
        loop {
            let len = match self.wire.read(buffer) {
                Ok(0) if self.outstanding == 0 => return Ok(answers),
                Ok(0) => {
                    bail!("the server ended a publisher's connection, {} answers missing", self.outstanding)
                }
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading a publisher's answers"),
            };
            self.input.extend_from_slice(&buffer[..len]);
            answers += self.take_answers()?;
            if len < buffer.len() && self.wire.short_read_is_last() {
                return Ok(answers);
            }
        }
    }

    fn take_answers(&mut self) -> anyhow::Result<u32> {
        let (mut answers, mut at) = (0, 0);
        while let Some((head_len, len)) = answer_len(&self.input[at..])? {
            self.last_id = String::from_utf8_lossy(&self.input[at + head_len..at + len]).into_owned();
            at += len;
            answers += 1;
        }
        self.input.drain(..at);
        self.outstanding = self.outstanding.checked_sub(answers).context("more answers than updates")?;
        Ok(answers)
    }
}

/// The lengths of the head and of the whole answer at the beginning of `input`; `None` while its end is missing.
fn answer_len(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let head = match Head::parse(input) {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(None),
        Err(error) => bail!("a publisher received no HTTP head: {error:?}"),
    };
    if head.second_word() != "200" {
        bail!("an update was refused:\n{}", String::from_utf8_lossy(input));
    }
    let body_len = head.content_length.context("the answer to an update has no Content-Length")?;
    let len = head.len + body_len;
    Ok((input.len() >= len).then_some((head.len, len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_when_they_are_complete() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n#123";
        for len in 0..answer.len() {
            assert_eq!(answer_len(&answer[..len]).unwrap(), None, "{len} bytes");
        }
        assert_eq!(answer_len(&[&answer[..], b"HTTP/1.1"].concat()).unwrap(), Some((38, answer.len())));
    }

    #[test]
    fn a_refusal_is_an_error_that_shows_the_answer() {
        let error =
            answer_len(b"HTTP/1.1 401 Unauthorized\r\n\r\nno").expect_err("it is refused").to_string();
        assert!(error.contains("401"), "{error}");
    }
}
