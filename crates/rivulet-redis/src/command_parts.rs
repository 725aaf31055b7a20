//! Long commands in parts.
//!
//! A connection gathers commands in a buffer that never shrinks (8 KiB at first, then at least twice as much). It moves what
//! waits there to the front only when that is not longer than what has been sent before it. So the buffer stays as it is where
//! twice what is gathered before a write (`WRITE_LEN` in `connector.rs`) and one command fit into it.

/// How many bytes of text one of the commands has that name many things.
const TEXT_LEN: usize = 3 << 9;
/// What is around each text: its length and two ends of line.
const AROUND: usize = 8;

/// Splits what a command would name into parts of at most [`TEXT_LEN`] bytes, but at least one item.
pub(crate) fn parts<T>(items: &[T], text_len: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut len = 0;
        let fits = |item: &&T| {
            len += text_len(item) + AROUND;
            len <= TEXT_LEN
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (part, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_in_one_part_and_parts_are_short() {
        let items: Vec<usize> = (0..200).chain([TEXT_LEN - AROUND, TEXT_LEN, 1, 1, 10 * TEXT_LEN]).collect();
        let parts: Vec<&[usize]> = parts(&items, |len| *len).collect();
        assert_eq!(parts.concat(), items);
        let len = |part: &[usize]| part.iter().map(|len| len + AROUND).sum::<usize>();
        assert!(parts.iter().all(|part| part.len() == 1 || len(part) <= TEXT_LEN));
        assert!(
            parts.windows(2).all(|pair| len(pair[0]) + pair[1][0] + AROUND > TEXT_LEN),
            "none is too short"
        );
        assert_eq!(super::parts(&[0; 0], |len| *len).count(), 0);
    }
}
