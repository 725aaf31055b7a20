//! A key set that is kept fresh, by a task that ends with its last owner. An authorizer that takes the place of another one
//! takes over those of its sources that have not changed: what they hold, and the task that reads them.

use std::sync::{Arc, OnceLock};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    KeySource,
    key_cache::{KeyCache, KeySetReads},
};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct KeptFresh {
    pub(super) source: KeySource,
    pub(super) cache: Arc<KeyCache>,
    task: OnceLock<Task>,
}

impl KeptFresh {
    /// Not yet kept fresh.
    pub(super) fn new(source: KeySource, cache: Arc<KeyCache>) -> Arc<Self> {
        Arc::new(Self { source, cache, task: OnceLock::new() })
    }

    /// Starts the task, once.
    pub(super) fn start(&self, runtime: &Handle) {
        self.task.get_or_init(|| Task(runtime.spawn(Arc::clone(&self.cache).keep_fresh())));
    }
}

/// A key set under the name that the configuration gives it.
#[derive(Debug)]
pub(super) struct NamedSet {
    pub(super) name: String,
    pub(super) kept: Arc<KeptFresh>,
    /// The reads of the set while it had another name.
    pub(super) counted_elsewhere: KeySetReads,
}

impl NamedSet {
    pub(super) fn new(name: String, kept: Arc<KeptFresh>) -> Self {
        Self { name, kept, counted_elsewhere: KeySetReads::default() }
    }

    /// The reads under this name.
    pub(super) fn reads(&self) -> KeySetReads {
        let (all, elsewhere) = (self.kept.cache.reads(), self.counted_elsewhere);
        KeySetReads { done: all.done - elsewhere.done, failed: all.failed - elsewhere.failed }
    }
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
