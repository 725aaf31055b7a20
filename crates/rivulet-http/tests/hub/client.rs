//! Clients: a stream that is read piece by piece, and a raw connection.

use std::net::SocketAddr;

use reqwest::Response;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{DEADLINE, header};

/// An open stream.
pub(crate) struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(header(&response, "content-type"), Some("text/event-stream"));
        Self { response, text: String::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.response, name)
    }

    /// Reads until `text` has come; answers everything that came.
    pub(crate) async fn until(&mut self, text: &str) -> &str {
        while !self.text.contains(text) {
            let chunk = timeout(DEADLINE, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("{text:?} did not come, but {:?}", self.text));
            let chunk = chunk.unwrap().unwrap_or_else(|| panic!("ended before {text:?}: {:?}", self.text));
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        &self.text
    }
}

/// A connection that sends what it is told, byte for byte.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) socket: S,
    pub(crate) text: String,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn open(address: SocketAddr, request: &str) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(request.as_bytes()).await;
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn over(socket: S) -> Self {
        Self { socket, text: String::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Reads until `text` has come.
    pub(crate) async fn until(&mut self, text: &str) -> &str {
        while !self.text.contains(text) {
            assert!(self.read().await > 0, "ended before {text:?}: {:?}", self.text);
        }
        &self.text
    }

    /// Reads until the server closes; answers everything that came.
    pub(crate) async fn read_all(&mut self) -> &str {
        while self.read().await > 0 {}
        &self.text
    }

    async fn read(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let read = timeout(DEADLINE, self.socket.read(&mut buffer)).await;
        let len = read.unwrap_or_else(|_| panic!("nothing more came after {:?}", self.text)).unwrap_or(0);
        self.text.push_str(&String::from_utf8_lossy(&buffer[..len]));
        len
    }
}
