//! What is read of a PROXY header, byte by byte, and what is refused.

use std::{
    collections::VecDeque,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use proxy_header::{ProxiedAddress, Tlv};
use tokio::io::ReadBuf;

use super::*;

/// A stream whose bytes come in these pieces, and then its end.
struct Pieces(VecDeque<u8>, VecDeque<usize>);

impl Pieces {
    /// `bytes`, cut after each of these lengths in turn.
    fn of(bytes: &[u8], lens: &[usize]) -> Self {
        Self(bytes.iter().copied().collect(), lens.iter().copied().collect())
    }

    fn read(&mut self) -> Result<Option<SocketAddr>, HeaderFault> {
        read_header(self).now_or_never().expect("the stream never makes wait")
    }

    fn left(&self) -> Vec<u8> {
        self.0.iter().copied().collect()
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.1.pop_front().unwrap_or(usize::MAX).max(1);
        let n = len.min(buf.remaining()).min(self.0.len());
        let piece: Vec<u8> = self.0.drain(..n).collect();
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// A header with this command, family and rest.
fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[command, family], &len, rest].concat()
}

fn check(bytes: &[u8], expected: Result<Option<&str>, &str>) {
    let mut stream = Pieces::of(&[bytes, b"GET /"].concat(), &[]);
    match (stream.read(), expected) {
        (Ok(found), Ok(expected)) => {
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{bytes:?}");
            assert_eq!(stream.left(), b"GET /", "{bytes:?}");
        }
        (Err(found), Err(expected)) => {
            assert!(found.to_string().contains(expected), "{found} for {bytes:?}");
        }
        (found, expected) => panic!("{found:?} instead of {expected:?} for {bytes:?}"),
    }
}

#[test]
fn addresses_are_read_where_there_are_some() {
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
    check(&header(0x21, 0x11, &v4), Ok(Some("192.0.2.7:4660")));
    let with_tlv = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0x04, 0, 1, 0]].concat();
    check(&header(0x21, 0x11, &with_tlv), Ok(Some("192.0.2.7:4660")));
    let mut v6 = [0; 36];
    (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 9, 99);
    check(&header(0x21, 0x21, &v6), Ok(Some("[2001::9]:99")));
    check(&header(0x21, 0x31, &[b'/'; 216]), Ok(None));
    check(&header(0x21, 0x00, &[]), Ok(None));
    check(&header(0x21, 0x00, b"whatever"), Ok(None));
}

#[test]
fn a_proxy_that_speaks_for_itself_tells_no_client() {
    check(&header(0x20, 0x00, &[]), Ok(None));
    check(&header(0x20, 0x11, &[1; 12]), Ok(None));
    check(&header(0x20, 0xff, b"to be ignored"), Ok(None));
}

#[test]
fn what_is_no_header_is_refused_with_the_rule() {
    let signature = "must begin with a PROXY header of version 2";
    check(b"GET / HTTP/1.1\r\n\r\n", Err(signature));
    check(b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n", Err(signature));
    check(&[0x16, 3, 1, 2, 0], Err(signature));
    let fields = "command, family and addresses of a PROXY header must be valid";
    check(&header(0x11, 0x11, &[1; 12]), Err(fields));
    check(&header(0x22, 0x11, &[1; 12]), Err(fields));
    check(&header(0x21, 0x41, &[1; 12]), Err(fields));
    check(&header(0x21, 0x13, &[1; 12]), Err(fields));
    check(&header(0x21, 0x11, &[1; 11]), Err(fields));
    check(&header(0x21, 0x21, &[1; 35]), Err(fields));
    check(&header(0x21, 0x31, &[1; 215]), Err(fields));
    check(&header(0x21, 0x12, &[1; 12]), Err("not of datagrams"));
    check(&header(0x21, 0x11, &[1; 4097]), Err("longer than 4096"));
    let cut = |len: usize| Pieces::of(&header(0x21, 0x11, &[1; 12])[..len], &[]).read();
    assert_eq!(cut(0), Err(HeaderFault::Silent));
    for len in 1..28 {
        assert!(cut(len).unwrap_err().to_string().contains("closed inside of its PROXY header"), "{len}");
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn a_header_is_read_the_same_however_it_is_cut(
        (from, to) in (address(), address()).prop_filter("of one family", |(a, b)| a.is_ipv4() == b.is_ipv4()),
        tlvs in vec((0u8.., vec(any::<u8>(), 0..200)), 0..4),
        lens in vec(1usize..40, 0..40),
        rest in vec(any::<u8>(), 0..100),
    ) {
        let tlvs = tlvs.into_iter().map(|(kind, value)| Tlv::Custom(kind, value.into()));
        let mut bytes = Vec::new();
        ProxyHeader::with_tlvs(Some(ProxiedAddress::stream(from, to)), tlvs).encode_v2(&mut bytes).unwrap();
        let mut stream = Pieces::of(&[bytes, rest.clone()].concat(), &lens);
        prop_assert_eq!(stream.read(), Ok(Some(from)));
        prop_assert_eq!(stream.left(), rest);
    }

    #[test]
    fn no_bytes_do_harm_and_none_of_what_follows_is_taken(
        begins_well in any::<bool>(),
        fields in any::<[u8; 2]>(),
        len in prop_oneof![0u16..300, any::<u16>()],
        bytes in vec(any::<u8>(), 0..600),
        lens in vec(1usize..40, 0..40),
    ) {
        let begin = if begins_well { [&SIGNATURE[..], &fields, &len.to_be_bytes()].concat() } else { Vec::new() };
        let sent = [begin, bytes].concat();
        let mut stream = Pieces::of(&sent, &lens);
        let read = stream.read();
        let taken = sent.len() - stream.left().len();
        if sent.starts_with(SIGNATURE) {
            prop_assert!(taken <= FIXED_LEN + usize::from(u16::from_be_bytes([sent[14], sent[15]])));
        } else {
            prop_assert!(read.is_err() && taken <= FIXED_LEN);
        }
        if read.is_ok() {
            prop_assert_eq!(taken, FIXED_LEN + usize::from(len));
        }
    }
}
