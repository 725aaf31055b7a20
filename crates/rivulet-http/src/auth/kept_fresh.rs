//! A key set that is kept fresh, by a task that ends with its last owner. An authorizer that takes the place of another one
//! takes over those of its sources that have not changed: what they hold, and the task that reads them.

use std::sync::{Arc, OnceLock};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{KeySource, key_cache::KeyCache};

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

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
