//! `application/x-www-form-urlencoded`, read strictly: nothing that is not UTF-8 is replaced silently.

use crate::{problem::Problem, problem_kind::ProblemKind};

/// The most fields of a form. A body of a mebibyte could hold half a million empty ones, at 48 bytes each.
pub(crate) const FIELDS_MAX: usize = 1000;

/// How much of a field's name is repeated in an answer, in characters.
const SHOWN_NAME_LEN_MAX: usize = 64;

/// The fields of a form or a query string, in order, decoded.
#[derive(Debug, Default)]
pub(crate) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads `text`; empty fields (`&&`) are skipped.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Problem> {
        let mut form = Self::default();
        form.extend(text)?;
        Ok(form)
    }

    /// Reads more fields behind those that are there.
    pub(crate) fn extend(&mut self, text: &[u8]) -> Result<(), Problem> {
        for field in text.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
            if self.fields.len() == FIELDS_MAX {
                let detail = format!("a request has at most {FIELDS_MAX} parameters");
                return Err(Problem::new(ProblemKind::ParametersTooMany, detail));
            }
            let (name, value) = match field.iter().position(|byte| *byte == b'=') {
                Some(at) => (&field[..at], &field[at + 1..]),
                None => (field, &field[field.len()..]),
            };
            let name = decode(name).map_err(|error| refused(&String::from_utf8_lossy(name), &error))?;
            let value = decode(value).map_err(|error| refused(&name, &error))?;
            self.fields.push((name, value));
        }
        Ok(())
    }

    /// All fields.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The values of a field, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields().filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// Why a name or value cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum DecodeError {
    #[error("it contains a \"%\" that two hexadecimal digits do not follow")]
    Escape,
    #[error("it is not valid UTF-8")]
    NotUtf8,
}

fn refused(name: &str, error: &DecodeError) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(SHOWN_NAME_LEN_MAX).collect();
    let detail = format!("the parameter {shown:?} cannot be read: {error}");
    Problem::new(ProblemKind::EncodingInvalid, detail).at(shown)
}

fn decode(text: &[u8]) -> Result<String, DecodeError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            other => *other,
        });
    }
    String::from_utf8(decoded).map_err(|_| DecodeError::NotUtf8)
}

fn hex(digit: Option<&u8>) -> Result<u8, DecodeError> {
    match digit {
        Some(b @ b'0'..=b'9') => Ok(b - b'0'),
        Some(b @ b'a'..=b'f') => Ok(b - b'a' + 10),
        Some(b @ b'A'..=b'F') => Ok(b - b'A' + 10),
        _ => Err(DecodeError::Escape),
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8], expected: Result<&[(&str, &str)], &str>) {
        let form = Form::parse(text);
        match (&form, expected) {
            (Ok(form), Ok(expected)) => {
                assert_eq!(
                    form.fields().collect::<Vec<_>>(),
                    expected,
                    "{:?}",
                    String::from_utf8_lossy(text)
                );
            }
            (Err(problem), Err(parameter)) => assert_eq!(problem.parameter(), Some(parameter)),
            _ => panic!("{:?}: {form:?}", String::from_utf8_lossy(text)),
        }
    }

    #[test]
    fn forms_are_read_strictly() {
        check(b"", Ok(&[]));
        check(b"a=1&b=2&a=3", Ok(&[("a", "1"), ("b", "2"), ("a", "3")]));
        check(b"&&private&", Ok(&[("private", "")]));
        check(b"a=b=c", Ok(&[("a", "b=c")]));
        check(b"t%6fpic=a+b%20%C3%a9", Ok(&[("topic", "a b é")]));
        check("topic=é".as_bytes(), Ok(&[("topic", "é")]));
        check(b"topic=%00", Ok(&[("topic", "\0")]));
        check(b"topic=%FF", Err("topic"));
        check(b"topic=\xC3\x28", Err("topic"));
        check(b"topic=100%", Err("topic"));
        check(b"topic=%4", Err("topic"));
        check(b"topic=%+1", Err("topic"));
        check(b"t%FF=1", Err("t%FF"));
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        assert!(Form::parse("a&".repeat(FIELDS_MAX).as_bytes()).is_ok());
        assert!(Form::parse("a&".repeat(FIELDS_MAX + 1).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(fields in prop::collection::vec((".{1,8}", ".{0,20}"), 0..8)) {
            let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().replace("%20", "+");
            let text: Vec<String> = fields.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
            let form = Form::parse(text.join("&").as_bytes()).unwrap();
            prop_assert_eq!(form.fields, fields);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&bytes);
        }
    }
}
