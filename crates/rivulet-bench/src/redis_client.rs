//! A connection to Redis that asks one question at a time and waits for the answer: what its statistics say, and what
//! Sentinels know.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// Longest wait for each step.
const STEP_MAX: Duration = Duration::from_secs(5);
/// The longest text that is read.
const TEXT_LEN_MAX: usize = 8 * 1024 * 1024;
/// The longest list that is read, and how deep lists may stand in each other.
const LIST_LEN_MAX: usize = 1024;
const DEPTH_MAX: u32 = 4;

/// See the module.
pub(crate) struct RedisClient(BufReader<TcpStream>);

/// What Redis answered, errors aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nil,
    Number(i64),
    Text(String),
    List(Vec<Reply>),
}

impl RedisClient {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, STEP_MAX)
            .with_context(|| format!("connecting to Redis at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP_MAX))?;
        stream.set_write_timeout(Some(STEP_MAX))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Runs a command.
    pub(crate) fn command(&mut self, words: &[&str]) -> anyhow::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        reply(&mut self.0, DEPTH_MAX).with_context(|| words.join(" "))
    }

    /// A section of `INFO`.
    pub(crate) fn info(&mut self, section: &str) -> anyhow::Result<Info> {
        match self.command(&["INFO", section])? {
            Reply::Text(text) => Ok(Info(text)),
            other => bail!("INFO {section} answered {other:?}"),
        }
    }
}

/// The text of `INFO`.
pub(crate) struct Info(String);

impl Info {
    /// The value of a line.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// A line's number; 0 if there is none.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// How often a command was called, scripts' calls included, by `commandstats`; 0 if never.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let line = self.text(&format!("cmdstat_{command}"));
        let calls = line.and_then(|line| line.strip_prefix("calls=")?.split(',').next());
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
    }
}

fn reply(input: &mut impl BufRead, depth: u32) -> anyhow::Result<Reply> {
    let mut line = String::new();
    input.by_ref().take(64 * 1024).read_line(&mut line)?;
    let Some(rest) = line.strip_suffix("\r\n") else { bail!("Redis ended the connection") };
    let Some((kind, rest)) = rest.split_at_checked(1) else { bail!("Redis answered an empty line") };
    Ok(match kind {
        "+" => Reply::Text(rest.to_owned()),
        "-" => bail!("Redis answered {rest}"),
        ":" => Reply::Number(rest.parse()?),
        "$" if rest == "-1" => Reply::Nil,
        "*" if rest == "-1" => Reply::Nil,
        "$" => {
            let len: usize = rest.parse()?;
            if len > TEXT_LEN_MAX {
                bail!("Redis answered {len} bytes");
            }
            let mut bytes = vec![0; len + 2];
            input.read_exact(&mut bytes)?;
            Reply::Text(String::from_utf8_lossy(&bytes[..len]).into_owned())
        }
        "*" => {
            let len: usize = rest.parse()?;
            let Some(depth) = depth.checked_sub(1).filter(|_| len <= LIST_LEN_MAX) else {
                bail!("Redis answered a list of {len}")
            };
            Reply::List((0..len).map(|_| reply(input, depth)).collect::<anyhow::Result<_>>()?)
        }
        _ => bail!("Redis answered {line:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let text = |text: &str| Reply::Text(text.to_owned());
        for (input, expected) in [
            ("+OK\r\n", text("OK")),
            (":-7\r\n", Reply::Number(-7)),
            ("$5\r\na\r\nb\n\r\n", text("a\r\nb\n")),
            ("$-1\r\n", Reply::Nil),
            (
                "*2\r\n$1\r\na\r\n*1\r\n:3\r\n",
                Reply::List(vec![text("a"), Reply::List(vec![Reply::Number(3)])]),
            ),
        ] {
            assert_eq!(reply(&mut input.as_bytes(), DEPTH_MAX).unwrap(), expected, "{input:?}");
        }
        for input in ["", "-ERR no\r\n", "$3\r\nab", "*9999999\r\n", "?\r\n", "\r\n"] {
            assert!(reply(&mut input.as_bytes(), DEPTH_MAX).is_err(), "{input:?}");
        }
    }

    #[test]
    fn statistics_are_found() {
        let info =
            Info("# Stats\r\ntotal_commands_processed:12\r\ncmdstat_get:calls=7,usec=3\r\n".to_owned());
        assert_eq!(
            (info.number("total_commands_processed"), info.calls("get"), info.calls("set")),
            (12, 7, 0)
        );
    }
}
