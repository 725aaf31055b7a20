//! The machine of a measurement, as far as figures depend on it.

use serde::Serialize;

use crate::cores::Cores;

/// Said with every result: figures of different machines do not compare, their ratios nearly do.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// Which core ran what; `None` if nothing was pinned.
    pub(crate) cores: Option<Cores>,
    /// Runnable processes, mean of the last minute when the measurement began: above 0.5, somebody else was at work.
    pub(crate) load_before: Option<f64>,
}

impl Machine {
    /// Looks at this machine.
    pub(crate) fn here(cores: Option<Cores>) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            processor: processor(&read("/proc/cpuinfo")).unwrap_or_else(|| "unknown".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cores,
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()),
        }
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        let cores = match self.cores {
            Some(Cores { client, server, redis }) => {
                format!("server on core {server}, client on core {client}, Redis on core {redis}")
            }
            None => "one core for everything, nothing pinned".to_owned(),
        };
        let load = self.load_before.map_or(String::new(), |load| format!(", load before {load}"));
        format!("{}, Linux {}; {cores}{load}", self.processor, self.kernel)
    }
}

fn processor(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        assert_eq!(
            processor("processor : 0\nmodel name\t: Some CPU 3 GHz\n").as_deref(),
            Some("Some CPU 3 GHz")
        );
        assert_eq!(processor("processor : 0\n"), None);
    }
}
