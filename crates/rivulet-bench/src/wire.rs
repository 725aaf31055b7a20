//! A connection that never blocks: plain, or with what stands before HTTP (a PROXY header, TLS).

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::Context;
use mio::{Interest, Registry, Token, net::TcpStream};
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustls::ClientConnection;
use socket2::{Domain, SockRef, Socket, Type};

use crate::approach::Approach;

/// See the module. Dropping it closes it: with a FIN if everything was read, with a RST otherwise.
pub(crate) struct Wire {
    stream: TcpStream,
    /// What goes ahead of everything else and is still to be sent.
    ahead: Vec<u8>,
    tls: Option<Box<ClientConnection>>,
}

impl Wire {
    /// Begins to connect. The source address is given because one address has only some 28,000 ports; the port is left
    /// to `connect`, which may share it between different servers. `None` leaves both to the system.
    pub(crate) fn connect(
        hub: SocketAddr,
        source: Option<Ipv4Addr>,
        approach: &Approach,
        registry: &Registry,
        token: Token,
    ) -> anyhow::Result<Self> {
        Self::connect_with(hub, source, approach, (registry, token), None)
    }

    /// The same with a receive buffer of this length at most, so that it is full soon.
    pub(crate) fn connect_with(
        hub: SocketAddr,
        source: Option<Ipv4Addr>,
        approach: &Approach,
        (registry, token): (&Registry, Token),
        receive_buffer_len: Option<usize>,
    ) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        if let Some(len) = receive_buffer_len {
            socket.set_recv_buffer_size(len)?;
        }
        if let Some(source) = source {
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
            socket
                .bind(&SocketAddrV4::new(source, 0).into())
                .with_context(|| format!("binding to {source}"))?;
        }
        match socket.connect(&hub.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error).with_context(|| format!("connecting from {source:?} to {hub}"));
            }
            Ok(()) | Err(_) => {}
        }
        let mut stream = TcpStream::from_std(std::net::TcpStream::from(socket));
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, ahead: approach.ahead(), tls: approach.tls_connection()? })
    }

    /// Sends every write at once instead of waiting for the acknowledgement of the one before.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// Why connecting failed, if it did.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.stream.take_error()
    }

    /// Whether a read that does not fill its buffer says that there is nothing more to read now.
    pub(crate) fn short_read_is_last(&self) -> bool {
        self.tls.is_none()
    }

    /// Reads what is there; `WouldBlock` if nothing is, 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end without a word of TLS is an end.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            tls.read_tls(&mut self.stream)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            send_records(tls, &mut self.stream)?;
        }
    }

    /// Writes what fits; answers how much, 0 if nothing does now. What TLS has taken goes out with later flushes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush_ahead()? {
            return Ok(0);
        }
        let Some(tls) = &mut self.tls else { return write_some(&mut self.stream, bytes) };
        let taken = tls.writer().write(bytes)?;
        send_records(tls, &mut self.stream)?;
        Ok(taken)
    }

    /// Sends what was taken and not sent yet.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.flush_ahead()?
            && let Some(tls) = &mut self.tls
        {
            send_records(tls, &mut self.stream)?;
        }
        Ok(())
    }

    /// Whether what goes ahead is sent.
    fn flush_ahead(&mut self) -> io::Result<bool> {
        while !self.ahead.is_empty() {
            let written = write_some(&mut self.stream, &self.ahead)?;
            if written == 0 {
                return Ok(false);
            }
            self.ahead.drain(..written);
        }
        Ok(true)
    }

    /// Leaves nothing to send but the first half of TLS' hello.
    pub(crate) fn halve_hello(&mut self) -> io::Result<()> {
        let mut hello = Vec::new();
        if let Some(mut tls) = self.tls.take() {
            while tls.wants_write() {
                tls.write_tls(&mut hello)?;
            }
        }
        self.ahead.extend_from_slice(&hello[..hello.len() / 2]);
        Ok(())
    }

    /// Says that nothing more is sent, and goes on reading.
    pub(crate) fn close_half(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Lets the coming close be a RST.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }
}

fn send_records(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
            other => other?,
        };
    }
    Ok(())
}

/// Writes what fits into a socket; answers how much.
pub(crate) fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected
            ) =>
        {
            Ok(0)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{Arc, mpsc},
        thread::{self, JoinHandle},
    };

    use indicatif::ProgressBar;
    use rustls::{
        ServerConfig, ServerConnection, StreamOwned,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use super::*;
    use crate::{approach::Certificate, client::Client, load, payload::Stamp, topics::Topics};

    /// A hub for one subscriber over TLS, to whom it sends so many updates, once it is told to, and then an end.
    fn hub(certificate: &Certificate, updates: u32) -> (SocketAddr, mpsc::Sender<()>, JoinHandle<()>) {
        let [chain, key] = certificate.files();
        let chain = vec![CertificateDer::from_pem_file(chain).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (go, told) = mpsc::channel();
        let serving = thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
            let mut request = [0; 4096];
            let len = tls.read(&mut request).unwrap();
            assert!(request[..len].starts_with(b"GET /"));
            tls.write_all(b"HTTP/1.1 200 OK\r\n\r\n:\n").unwrap();
            tls.flush().unwrap();
            told.recv().unwrap();
            let mut answer = Vec::new();
            for number in 0..updates {
                answer.extend_from_slice(b"data: ");
                Stamp { number, sent_ns: 0 }.append_data(&mut answer);
                answer.extend_from_slice(b"\n\n");
            }
            tls.write_all(&answer).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        });
        (address, go, serving)
    }

    #[test]
    fn a_subscriber_over_tls_gets_all_updates_and_the_end() {
        let certificate = Certificate::make(Ipv4Addr::LOCALHOST).unwrap();
        let approach = certificate.approach(Ipv4Addr::LOCALHOST).unwrap();
        // More than one record and more than one read.
        let (address, go, serving) = hub(&certificate, 1_000);
        let mut client = Client::approaching(address, approach, 200).unwrap();
        let hidden = ProgressBar::hidden();
        client.open_subscribers(1, Topics::Shared, &hidden).unwrap();
        go.send(()).unwrap();
        let done = |client: &Client| client.tally().closed == 1;
        assert!(load::wait(&mut client, &hidden, done).unwrap(), "{} deliveries", client.tally().deliveries);
        assert_eq!(client.tally().deliveries, 1_000);
        serving.join().unwrap();
    }

    #[test]
    fn half_a_hello_is_all_that_a_client_sends_that_leaves_amid_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let certificate = Certificate::make(Ipv4Addr::LOCALHOST).unwrap();
        let approach = certificate.approach(Ipv4Addr::LOCALHOST).unwrap();
        let poll = mio::Poll::new().unwrap();
        let address = listener.local_addr().unwrap();
        let mut wire = Wire::connect(address, None, &approach, poll.registry(), Token(0)).unwrap();
        wire.halve_hello().unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        wire.flush().unwrap();
        drop(wire);
        let mut hello = Vec::new();
        accepted.read_to_end(&mut hello).unwrap();
        // A record of a handshake, which says itself that it is longer.
        let announced = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
        assert!(hello[0] == 22 && hello.len() < 5 + announced && hello.len() > 50, "{}", hello.len());
    }
}
