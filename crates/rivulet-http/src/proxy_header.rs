//! The header of the PROXY protocol, version 2, by which a proxy tells its client's address.

use std::{fmt, io, net::SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// They do not.
    #[default]
    Off,
    /// Every connection comes from a trusted proxy and begins with a header of version 2. Other peers are not served:
    /// who comes past the proxy comes past its limits too, and what looks like a client's address would be the sender's
    /// choice.
    Required,
}

/// What every header begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length of the rest.
const FIXED_LEN: usize = 16;
/// Version 2 and the command `LOCAL`: the proxy speaks for itself, to see whether we live.
const LOCAL: u8 = 0x20;
/// The longest rest. Addresses take 36 bytes, or 216 of Unix sockets; a client's certificate may be among what follows.
const REST_LEN_MAX: usize = 4096;

/// Why a header was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The peer said nothing at all: a proxy that only looks whether the port is open.
    Silent,
    /// It breaks this rule.
    Invalid(&'static str),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "the connection was closed before a header came",
            Self::Invalid(rule) => rule,
        })
    }
}

/// Reads a header and not a byte more: what follows belongs to TLS or HTTP. Answers the client's address, if the header
/// tells one; `LOCAL`, unspecified and Unix addresses do not.
pub(crate) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderFault> {
    let mut header = vec![0; FIXED_LEN];
    let mut filled = 0;
    while filled < FIXED_LEN {
        match stream.read(&mut header[filled..]).await {
            Ok(0) if filled == 0 => return Err(HeaderFault::Silent),
            Ok(n) if n > 0 => filled += n,
            read => return Err(broken(read.map(drop))),
        }
        // Whoever does not know the protocol is told so at its first bytes, instead of being waited for.
        let begun = filled.min(SIGNATURE.len());
        if header[..begun] != SIGNATURE[..begun] {
            return Err(HeaderFault::Invalid("a connection must begin with a PROXY header of version 2"));
        }
    }
    let rest_len = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if rest_len > REST_LEN_MAX {
        return Err(HeaderFault::Invalid("a PROXY header must not be longer than 4096 bytes"));
    }
    header.resize(FIXED_LEN + rest_len, 0);
    if let Err(error) = stream.read_exact(&mut header[FIXED_LEN..]).await {
        return Err(broken(Err(error)));
    }
    client(&header)
}

fn broken(read: io::Result<()>) -> HeaderFault {
    HeaderFault::Invalid(match read {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            "the connection broke inside of its PROXY header"
        }
        _ => "the connection was closed inside of its PROXY header",
    })
}

/// The client's address in a complete header.
fn client(header: &[u8]) -> Result<Option<SocketAddr>, HeaderFault> {
    if header[SIGNATURE.len()] == LOCAL {
        // Whatever stands in it is to be ignored.
        return Ok(None);
    }
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (header, _) = ProxyHeader::parse(header, config)
        .map_err(|_| HeaderFault::Invalid("command, family and addresses of a PROXY header must be valid"))?;
    match header.proxied_address() {
        Some(proxied) if proxied.protocol == Protocol::Stream => Ok(Some(proxied.source)),
        Some(_) => Err(HeaderFault::Invalid("a PROXY header must tell of a stream, not of datagrams")),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
