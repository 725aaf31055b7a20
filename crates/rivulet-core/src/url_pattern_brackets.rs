//! The brackets in the host of a URL Pattern.
//!
//! `urlpattern` 0.6 counts them in a `usize` and subtracts for every `]`, open or not: a panic with overflow checks, a
//! pattern cut in the wrong places without. No host has a bracket that closes nothing, so such a pattern is refused
//! before it gets there. Found by fuzzing. What is read here is what that crate's tokenizer reads.

/// Whether a `]` before the pattern's path closes nothing. Doubtful cases count as such.
pub(crate) fn close_nothing(pattern: &str) -> bool {
    // These begin a path, a query and a fragment: there is no host.
    if pattern.starts_with(['/', '?', '#']) {
        return false;
    }
    let bytes = pattern.as_bytes();
    let (mut at, mut groups_open, mut brackets_open) = (0, 0_usize, 0_usize);
    while let Some(mut byte) = bytes.get(at).copied() {
        match byte {
            b'(' => at += expression_len(&bytes[at..]).unwrap_or(0),
            b'\\' => {
                at += 1;
                // An escaped bracket is counted like another; other escaped characters mean nothing.
                byte = bytes.get(at).copied().filter(|escaped| b"[]".contains(escaped)).unwrap_or(b' ');
            }
            b'{' => groups_open += 1,
            b'}' => groups_open = groups_open.saturating_sub(1),
            _ => {}
        }
        match byte {
            _ if groups_open > 0 => {}
            // What stood before was user information, in which brackets are not counted.
            b'@' => brackets_open = 0,
            b'[' => brackets_open += 1,
            b']' if brackets_open == 0 => return true,
            b']' => brackets_open -= 1,
            b'/' if !matches!(bytes[..at].last(), None | Some(b':' | b'/')) => return false,
            _ => {}
        }
        at += 1;
    }
    false
}

/// How many bytes lie between the parenthesis that `bytes` begin with and the one that closes it, the latter included,
/// if they are a regular expression to the URL Pattern Standard ("tokenize"); otherwise the parenthesis is a character.
fn expression_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (1, 1);
    loop {
        match bytes.get(at)? {
            b'?' if at == 1 => return None,
            byte if !byte.is_ascii() => return None,
            b'\\' if bytes.get(at + 1)?.is_ascii() => at += 1,
            b'\\' => return None,
            b')' if depth == 1 => return (at > 1).then_some(at),
            b')' => depth -= 1,
            b'(' if *bytes.get(at + 1)? == b'?' => depth += 1,
            b'(' => return None,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, expected: bool) {
        assert_eq!(close_nothing(pattern), expected, "{pattern:?}");
    }

    #[test]
    fn a_bracket_in_the_host_must_have_been_opened() {
        for pattern in [
            "https://a]b/",
            "https://[::1]]/",
            "https://a\\]/",
            "https://[@]/",
            "https://{[}]/",
            "https://([)]/",
            "https://:s([0-9]9]/x",
            "*:]",
            "https://{/}]",
        ] {
            check(pattern, true);
        }
    }

    #[test]
    fn other_brackets_are_nobodys_business() {
        for pattern in [
            "https://[::1]:*/a",
            "https://{[::1]}/a",
            "https://([a-z]+).example.com/",
            "https://([^]]+).example.com/",
            "https://example.com/a]?b]#c]",
            "https://user:[@example.com/",
            "/a]",
            "?a[]=1&b]",
            "#]",
            "books/:id",
            "",
        ] {
            check(pattern, false);
        }
    }
}
