//! The idempotency keys of the memory transport: what was published under each of late.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashMap;
use rivulet_core::{IdempotencyKey, Position, Update, envelope};

use crate::{AppendError, transport::IDEMPOTENCY_AGE};

/// At ~300 bytes each these are 75 MB; beyond, the oldest are forgotten before their time.
const KEYS_LEN_MAX: usize = 1 << 18;

/// Two hashes, drawn anew in each process: nobody can find another update that has both.
type Digest = [u64; 2];

#[derive(Default)]
pub(super) struct UsedKeys {
    hashers: [RandomState; 2],
    used: HashMap<IdempotencyKey, (Digest, Position)>,
    /// When each was used, oldest first.
    by_age: VecDeque<(Position, IdempotencyKey)>,
}

impl UsedKeys {
    /// Where this update stands already, if it was published under this key.
    pub(super) fn find(
        &self,
        key: &IdempotencyKey,
        update: &Update,
    ) -> Result<Option<Position>, AppendError> {
        match self.used.get(key) {
            Some((digest, position)) if *digest == self.digest(update) => Ok(Some(*position)),
            Some(_) => Err(AppendError::KeyReused),
            None => Ok(None),
        }
    }

    /// Remembers a key that was not known. The time is told in positions.
    pub(super) fn remember(
        &mut self,
        now: Position,
        key: &IdempotencyKey,
        update: &Update,
        position: Position,
    ) {
        if self.used.len() == KEYS_LEN_MAX {
            self.forget_first();
        }
        self.used.insert(key.clone(), (self.digest(update), position));
        self.by_age.push_back((now, key.clone()));
    }

    /// Forgets what is older than it has to be.
    pub(super) fn expire(&mut self, now: Position) {
        let age = u64::try_from(IDEMPOTENCY_AGE.as_micros()).unwrap_or(u64::MAX);
        let horizon = Position::from_micros(now.as_micros().saturating_sub(age));
        while self.by_age.front().is_some_and(|(used, _)| *used < horizon) {
            self.forget_first();
        }
        if self.used.len() < self.used.capacity() / 4 {
            self.used.shrink_to(self.used.len() * 2);
            self.by_age.shrink_to(self.used.len() * 2);
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.by_age.pop_front() {
            self.used.remove(&key);
        }
    }

    fn digest(&self, update: &Update) -> Digest {
        let envelope = envelope::encode_content(update);
        self.hashers.each_ref().map(|hasher| hasher.hash_one(&envelope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rivulet_core::Topic;

    #[test]
    fn a_key_is_known_for_its_time_and_then_forgotten() {
        let update = |data: &'static str| Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data: Bytes::from_static(data.as_bytes()),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let at = Position::from_micros;
        let key = IdempotencyKey::parse("k").unwrap();
        let mut keys = UsedKeys::default();
        assert!(matches!(keys.find(&key, &update("x")), Ok(None)));
        keys.remember(at(1_000_000), &key, &update("x"), at(7));
        keys.expire(at(601_000_000));
        assert!(matches!(keys.find(&key, &update("x")), Ok(Some(position)) if position == at(7)));
        assert!(matches!(keys.find(&key, &update("y")), Err(AppendError::KeyReused)));
        keys.expire(at(601_000_001));
        assert!(matches!(keys.find(&key, &update("y")), Ok(None)));
        assert!(keys.by_age.is_empty() && keys.used.capacity() < 8);
    }
}
