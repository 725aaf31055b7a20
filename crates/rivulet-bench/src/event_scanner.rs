//! Finds the events in what a stream delivers, in any division into reads, with two searches per event.

use memchr::memmem::Finder;

use crate::payload::Stamp;

/// The longest beginning of an event that is kept while the rest is awaited. Ours have some 240 bytes.
const TAIL_LEN_MAX: usize = 64 * 1024;

/// The searches, built once and shared by all streams. What a stream has left over is the caller's to keep.
pub(crate) struct EventScanner {
    blank_line: Finder<'static>,
    data: Finder<'static>,
}

impl EventScanner {
    pub(crate) fn new() -> Self {
        Self { blank_line: Finder::new(b"\n\n"), data: Finder::new(b"data: u") }
    }

    /// Takes the next bytes of a stream and hands over each update that they complete. Comments and blocks without data
    /// (heartbeats) are passed over. `tail` keeps the beginning of an event between calls.
    pub(crate) fn take(&self, tail: &mut Vec<u8>, chunk: &[u8], mut each: impl FnMut(Stamp)) {
        let mut rest = chunk;
        if !tail.is_empty() {
            let Some(end) = self.end_of_first(tail, rest) else {
                tail.truncate(TAIL_LEN_MAX.saturating_sub(rest.len()));
                tail.extend_from_slice(rest);
                return;
            };
            tail.extend_from_slice(&rest[..end]);
            self.block(tail, &mut each);
            tail.clear();
            rest = &rest[end..];
        }
        while let Some(blank) = self.blank_line.find(rest) {
            self.block(&rest[..blank], &mut each);
            rest = &rest[blank + 2..];
        }
        tail.extend_from_slice(rest);
    }

    /// Where, in `chunk`, the event ends that `tail` begins.
    fn end_of_first(&self, tail: &[u8], chunk: &[u8]) -> Option<usize> {
        if tail.ends_with(b"\n") && chunk.starts_with(b"\n") {
            return Some(1);
        }
        self.blank_line.find(chunk).map(|blank| blank + 2)
    }

    fn block(&self, block: &[u8], each: &mut impl FnMut(Stamp)) {
        // The mark is the data's first byte and the search's last.
        let data = self.data.find(block).map(|at| &block[at + b"data: ".len()..]);
        if let Some(stamp) = data.and_then(Stamp::parse) {
            each(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(updates: u32) -> Vec<u8> {
        let mut out = b":\n".to_vec();
        for number in 0..updates {
            out.extend_from_slice(b"id: #1795417847000000\ndata: ");
            Stamp { number, sent_ns: u64::from(number) * 7 }.append_data(&mut out);
            out.extend_from_slice(b"\n\nid: #1795417847000001\n\n:\n\n");
        }
        out
    }

    #[test]
    fn every_division_into_reads_gives_the_same_updates() {
        let (scanner, bytes) = (EventScanner::new(), stream(5));
        for len in 1..bytes.len() {
            let (mut tail, mut numbers) = (Vec::new(), Vec::new());
            for chunk in bytes.chunks(len) {
                scanner.take(&mut tail, chunk, |stamp| numbers.push(stamp.number));
            }
            assert_eq!(numbers, [0, 1, 2, 3, 4], "in reads of {len}");
            assert!(tail.is_empty(), "in reads of {len}");
        }
    }

    #[test]
    fn a_stream_that_never_ends_an_event_keeps_bounded_memory() {
        let (scanner, mut tail) = (EventScanner::new(), Vec::new());
        for _ in 0..100 {
            scanner.take(&mut tail, &[b'x'; 4096], |_| panic!("there is no update"));
        }
        assert!(tail.len() <= TAIL_LEN_MAX);
    }
}
