//! What an update of the bench carries: its number, when it was sent, and filler up to a fixed length.

/// Bytes of data in every update, the same for every server.
pub(crate) const DATA_LEN: usize = 200;
/// What the data begins with; the scanner looks for it behind `data: `.
pub(crate) const MARK: u8 = b'u';

const NUMBER_DIGITS: usize = 8;
const TIME_DIGITS: usize = 15;
const STAMP_LEN: usize = 1 + NUMBER_DIGITS + 1 + TIME_DIGITS;

/// What a received update says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The update's number within its load.
    pub(crate) number: u32,
    /// When it was handed to a publisher's socket, in nanoseconds since the client began. 15 digits: 11 days.
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Appends data with this stamp. None of its characters needs encoding in a form.
    pub(crate) fn append_data(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(MARK);
        append_digits(out, u64::from(self.number), NUMBER_DIGITS);
        out.push(b't');
        append_digits(out, self.sent_ns, TIME_DIGITS);
        out.resize(start + DATA_LEN, b'-');
    }

    /// Reads the stamp at the beginning of an update's data. `None` if there is none.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let stamp = data.get(..STAMP_LEN)?;
        if stamp[0] != MARK || stamp[1 + NUMBER_DIGITS] != b't' {
            return None;
        }
        let number = parse_digits(&stamp[1..=NUMBER_DIGITS])?;
        let sent_ns = parse_digits(&stamp[STAMP_LEN - TIME_DIGITS..])?;
        Some(Self { number: u32::try_from(number).ok()?, sent_ns })
    }
}

fn append_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("a remainder of ten is below ten");
        value /= 10;
    }
}

fn parse_digits(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_its_data() {
        for stamp in [
            Stamp { number: 0, sent_ns: 0 },
            Stamp { number: 99_999_999, sent_ns: 999_999_999_999_999 },
            Stamp { number: 42, sent_ns: 1_234_567_890 },
        ] {
            let mut data = b"before".to_vec();
            stamp.append_data(&mut data);
            assert_eq!(data.len(), 6 + DATA_LEN);
            assert_eq!(Stamp::parse(&data[6..]), Some(stamp));
        }
    }

    #[test]
    fn other_data_has_no_stamp() {
        for data in [&b""[..], b"u00000001t", b"u0000000xt000000000000001", b"x00000001t000000000000001"] {
            assert_eq!(Stamp::parse(data), None, "{data:?}");
        }
    }
}
