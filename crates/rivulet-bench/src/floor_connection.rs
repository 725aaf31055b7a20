//! One connection of the floor: its socket and what it has not taken yet.

use std::collections::VecDeque;

use anyhow::bail;
use bytes::Bytes;
use mio::net::TcpStream;

use crate::wire::write_some;

/// Most bytes that wait for a full socket; a connection that needs more is ended.
const PENDING_LEN_MAX: usize = 16 * 1024 * 1024;

/// A publisher until it subscribes.
pub(crate) struct FloorConnection {
    pub(crate) stream: TcpStream,
    /// The beginning of a request.
    pub(crate) input: Vec<u8>,
    /// What it subscribes to.
    pub(crate) topic: Option<Box<str>>,
    pending: VecDeque<Bytes>,
    pending_len: usize,
}

impl FloorConnection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, input: Vec::new(), topic: None, pending: VecDeque::new(), pending_len: 0 }
    }

    /// Writes at once, with one `write`, unless something waits already.
    pub(crate) fn send(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        let written = if self.pending.is_empty() { write_some(&mut self.stream, bytes)? } else { 0 };
        if written < bytes.len() {
            self.pending_len += bytes.len() - written;
            if self.pending_len > PENDING_LEN_MAX {
                bail!("a reader that is {PENDING_LEN_MAX} bytes behind");
            }
            self.pending.push_back(bytes.slice(written..));
        }
        Ok(())
    }

    /// Writes what waits, one `write` per update, until the socket is full again.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while let Some(front) = self.pending.front_mut() {
            let written = write_some(&mut self.stream, front)?;
            if written == 0 {
                break;
            }
            self.pending_len -= written;
            if written == front.len() {
                self.pending.pop_front();
            } else {
                *front = front.slice(written..);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{Ipv4Addr, TcpListener},
    };

    use super::*;

    #[test]
    fn what_a_full_socket_did_not_take_follows_in_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        let mut connection = FloorConnection::new(TcpStream::from_std(stream));
        let (mut expected, mut number) = (Vec::new(), 0_u32);
        while connection.pending.len() < 100 {
            let update = number.to_be_bytes().repeat(1_000);
            connection.send(&Bytes::from(update.clone())).unwrap();
            expected.extend_from_slice(&update);
            number += 1;
        }
        let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while received.len() < expected.len() {
            connection.flush().unwrap();
            let len = reader.read(&mut buffer).unwrap();
            received.extend_from_slice(&buffer[..len]);
        }
        assert!(received == expected, "{} updates arrived changed", number);
        assert_eq!(connection.pending_len, 0);
    }

    #[test]
    fn a_reader_that_stays_behind_is_given_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut connection = FloorConnection::new(TcpStream::from_std(stream));
        let update = Bytes::from(vec![b'x'; 1024 * 1024]);
        assert!((0..100).any(|_| connection.send(&update).is_err()));
    }
}
