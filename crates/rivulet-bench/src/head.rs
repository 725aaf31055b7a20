//! Heads of HTTP/1.1 requests and responses, as far as the bench and its floor need them.

use memchr::memmem;

/// The longest head that is accepted: ours have some 400 bytes.
const HEAD_LEN_MAX: usize = 16 * 1024;

/// A head whose end has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The request line or status line.
    pub(crate) first_line: &'a str,
    /// Bytes of the head, blank line included.
    pub(crate) len: usize,
    /// Bytes of the body that follows, if the head says so.
    pub(crate) content_length: Option<usize>,
}

/// Why bytes are not a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// It is not text.
    NotText,
    /// It has no end within the limit.
    TooLong,
    /// Its `Content-Length` is not a number.
    BadLength,
}

impl<'a> Head<'a> {
    /// Reads the head at the beginning of `bytes`; `None` while its end is missing.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, HeadError> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > HEAD_LEN_MAX { Err(HeadError::TooLong) } else { Ok(None) };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| HeadError::NotText)?;
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default();
        let mut content_length = None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                content_length = Some(value.trim().parse().map_err(|_| HeadError::BadLength)?);
            }
        }
        Ok(Some(Self { first_line, len: end + 4, content_length }))
    }

    /// The second word of the first line: a response's status, a request's target.
    pub(crate) fn second_word(&self) -> &'a str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-Length: 17\r\nA: b\r\n\r\n#1795417847000000";
        for len in 0..bytes.len() - 17 {
            assert_eq!(Head::parse(&bytes[..len]), Ok(None), "{len} bytes");
        }
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!((head.second_word(), head.content_length), ("200", Some(17)));
        assert_eq!(&bytes[head.len..], b"#1795417847000000");
    }

    #[test]
    fn bad_heads_are_refused() {
        assert_eq!(Head::parse(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Err(HeadError::BadLength));
        assert_eq!(Head::parse(b"\xff\r\n\r\n"), Err(HeadError::NotText));
        assert_eq!(Head::parse(&[b'a'; HEAD_LEN_MAX + 1]), Err(HeadError::TooLong));
    }
}
