//! What the process takes of its machine.

use std::{fmt, time::SystemTime};

use super::{families as f, page::Page};
use crate::{memory::MemoryState, observed::Observed, process};

/// See the module. What the system does not tell is not shown.
#[derive(Debug)]
pub(super) struct ProcessSnapshot {
    started: u64,
    memory: MemoryState,
    resident: Option<u64>,
    heap: Option<u64>,
    files: Option<u64>,
    files_max: Option<u64>,
    tasks: usize,
}

impl ProcessSnapshot {
    pub(super) fn of(observed: &Observed, started_at: SystemTime) -> Self {
        Self {
            started: started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
            memory: *observed.memory.borrow(),
            resident: process::resident_bytes(),
            heap: process::heap_bytes(),
            files: process::open_files(),
            files_max: process::file_limit(),
            tasks: observed.runtime.metrics().num_alive_tasks(),
        }
    }

    pub(super) fn show(&self, page: &mut Page<'_>, connections: usize) -> fmt::Result {
        if let Some(heap) = self.heap {
            page.gauge(&f::HEAP, heap)?;
            #[expect(clippy::cast_precision_loss, reason = "far less than 2^52 bytes")]
            page.gauge(&f::HEAP_PER_CONNECTION, heap as f64 / connections.max(1) as f64)?;
        }
        page.gauge(&f::MEMORY_MAX, self.memory.max)?;
        page.gauge(&f::MEMORY_USED, self.memory.used)?;
        page.gauge(&f::MEMORY_TIGHT, u64::from(self.memory.tight))?;
        page.gauge(&f::TASKS, self.tasks)?;
        page.gauge(&f::START_TIME, self.started)?;
        let optional =
            [(&f::RESIDENT, self.resident), (&f::OPEN_FDS, self.files), (&f::MAX_FDS, self.files_max)];
        for (family, value) in optional {
            if let Some(value) = value {
                page.gauge(family, value)?;
            }
        }
        Ok(())
    }
}
