//! A strict, incremental reader of event streams. What a lenient client would forgive is an error here.

/// One event as a client would see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The value of `event:`, if there was one.
    pub kind: Option<String>,
    /// The value of `retry:` in milliseconds, if there was one.
    pub retry: Option<u64>,
    /// The value of `id:`, if there was one.
    pub id: Option<String>,
    /// The `data:` lines joined by LF; `None` where there was no such line: a browser fires no event then.
    pub data: Option<String>,
}

impl Event {
    /// The id, which every event of a hub has.
    pub fn id(&self) -> &str {
        self.id.as_deref().expect("every event has an id")
    }

    /// The data of an event that has some.
    pub fn data(&self) -> &str {
        self.data.as_deref().expect("this event has data")
    }
}

/// What stands between two blank lines, or a comment line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A line that begins with a colon.
    Comment(String),
    /// Fields, ended by a blank line.
    Event(Event),
}

/// The bytes that have not made a whole line yet, and the fields that have not made a whole event.
#[derive(Debug, Default)]
pub struct Parser {
    pending: Vec<u8>,
    /// How much of `pending` is known to hold no line end: a long line arrives in many pieces.
    scanned: usize,
    event: Event,
    fields: usize,
}

impl Parser {
    /// Takes bytes as they came from the socket and answers the blocks that they complete.
    ///
    /// # Errors
    /// Says which line broke which rule.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Block>, String> {
        self.pending.extend_from_slice(bytes);
        let mut blocks = Vec::new();
        let mut start = 0;
        while let Some(length) = self.pending[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let end = self.scanned + length;
            let line = self.pending[start..end].to_vec();
            start = end + 1;
            self.scanned = start;
            let line = String::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
            blocks.extend(self.line(&line)?);
        }
        self.pending.drain(..start);
        self.scanned = self.pending.len();
        Ok(blocks)
    }

    /// Whether the stream stands between two blocks, as it must when it ends.
    pub fn is_between_blocks(&self) -> bool {
        self.pending.is_empty() && self.fields == 0
    }

    fn line(&mut self, line: &str) -> Result<Option<Block>, String> {
        if line.contains('\r') {
            return Err(format!("a carriage return in {line:?}"));
        }
        if line.is_empty() {
            let whole = self.fields > 0;
            self.fields = 0;
            let event = std::mem::take(&mut self.event);
            return Ok(whole.then_some(Block::Event(event)));
        }
        if let Some(comment) = line.strip_prefix(':') {
            return Ok(Some(Block::Comment(comment.to_owned())));
        }
        let Some((name, value)) = line.split_once(": ") else {
            return Err(format!("not one space after the colon in {line:?}"));
        };
        self.fields += 1;
        self.field(name, value)?;
        Ok(None)
    }

    /// Fields stand in the order event, retry, id, data; only data is repeated.
    fn field(&mut self, name: &str, value: &str) -> Result<(), String> {
        let event = &mut self.event;
        let later = |field: &str| Err(format!("{name:?} after {field}"));
        match name {
            "event" if event.retry.is_some() || event.id.is_some() => later("retry or id"),
            "retry" if event.id.is_some() || event.data.is_some() => later("id or data"),
            "id" if event.data.is_some() => later("data"),
            "event" => set(&mut event.kind, value.to_owned()),
            "retry" => set(&mut event.retry, value.parse().map_err(|_| format!("retry {value:?}"))?),
            "id" if value.contains('\0') => Err("a NUL in an id: clients ignore it".to_owned()),
            "id" => set(&mut event.id, value.to_owned()),
            "data" => {
                match &mut event.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => event.data = Some(value.to_owned()),
                }
                Ok(())
            }
            _ => Err(format!("unknown field {name:?}")),
        }
    }
}

fn set<T>(field: &mut Option<T>, value: T) -> Result<(), String> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err("a field stands twice in one event".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_however_the_bytes_are_cut() {
        let bytes = b":\nevent: a\nretry: 5\nid: #1\ndata: x\ndata:  y\n\nid: #2\n\n: hi\n";
        let expected = vec![
            Block::Comment(String::new()),
            Block::Event(Event {
                kind: Some("a".into()),
                retry: Some(5),
                id: Some("#1".into()),
                data: Some("x\n y".into()),
            }),
            Block::Event(Event { id: Some("#2".into()), ..Event::default() }),
            Block::Comment(" hi".into()),
        ];
        for cut in 1..bytes.len() {
            let mut parser = Parser::default();
            let blocks: Vec<_> =
                bytes.chunks(cut).flat_map(|chunk| parser.push(chunk).expect("a strict stream")).collect();
            assert_eq!(blocks, expected, "cut every {cut} bytes");
            assert!(parser.is_between_blocks());
        }
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        for bytes in ["data:x\n", "data: x\r\n", "id: 1\nid: 2\n", "data: x\nid: 1\n", "foo: bar\n", "data\n"]
        {
            assert!(Parser::default().push(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(Parser::default().push(b"data: \xff\n").is_err());
    }
}
