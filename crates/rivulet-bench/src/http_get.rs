//! One HTTP request that waits for its answer: readiness and metrics of a server.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::head::Head;

/// Longest wait for each step of the request.
const STEP_MAX: Duration = Duration::from_secs(5);
/// The same where the answer has to be made first.
const MADE_MAX: Duration = Duration::from_secs(90);
/// The longest answer that is read.
const ANSWER_LEN_MAX: u64 = 8 * 1024 * 1024;

/// Asks for `path`; answers status and body.
pub(crate) fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let (status, body) = get(address, path, STEP_MAX)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The same for what is no text and takes a while.
pub(crate) fn http_get_bytes(address: SocketAddr, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    get(address, path, MADE_MAX)
}

fn get(address: SocketAddr, path: &str, answer_max: Duration) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_read_timeout(Some(answer_max))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer)?;
    let Ok(Some(head)) = Head::parse(&answer) else { bail!("{address}{path} answered no HTTP head") };
    let status = head.second_word().parse().context("a status that is no number")?;
    let body = answer.split_off(head.len);
    Ok((status, body))
}
