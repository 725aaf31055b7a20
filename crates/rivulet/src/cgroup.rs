//! The control group that this process lives in, which is its container: how much memory it may take, and how much of it
//! is taken. Both versions of control groups; a system without them has none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Limits from here on are version 1's way to say "none": the largest number of whole pages.
const LIMIT_MAX: u64 = 1 << 62;

/// A group of processes whose memory is limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    version: Version,
    /// What it may take, in bytes.
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    const fn limit_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.limit_in_bytes",
            Self::V2 => "memory.max",
        }
    }

    const fn usage_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    /// The rows of `memory.stat` that count what the kernel takes back before it kills anybody: pages of files, and its
    /// own caches of names. Pages of tmpfs are not among them, and version 1 does not tell the caches.
    const fn reclaimable(self) -> &'static [&'static str] {
        match self {
            Self::V1 => &["total_inactive_file", "total_active_file"],
            Self::V2 => &["inactive_file", "active_file", "slab_reclaimable"],
        }
    }
}

impl Cgroup {
    /// The group with the smallest limit of those that this process is in, if any of them has one.
    pub(crate) fn limited() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::limited_of(&membership, Path::new("/sys/fs/cgroup"))
    }

    /// The same for a process with this `/proc/PID/cgroup`, below this mount point.
    fn limited_of(membership: &str, mount: &Path) -> Option<Self> {
        let groups = membership.lines().filter_map(|line| {
            // "4:memory:/a/b" in version 1, "0::/a/b" in version 2.
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (version, root) = match controllers {
                "" => (Version::V2, mount.to_owned()),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    (Version::V1, mount.join("memory"))
                }
                _ => return None,
            };
            Some(Self::smallest_limit(version, &root, path))
        });
        groups.flatten().min_by_key(|group| group.limit)
    }

    /// A limit binds everything below it. In a container the path may be the host's, which cannot be seen: then the
    /// mount point itself is the container's group.
    fn smallest_limit(version: Version, root: &Path, path: &str) -> Option<Self> {
        let own = root.join(path.trim_start_matches('/'));
        let directories = own.ancestors().take_while(|directory| directory.starts_with(root));
        let limited = directories.filter_map(|directory| {
            let limit = fs::read_to_string(directory.join(version.limit_file())).ok()?;
            // Version 2 says "max" where there is none.
            let limit = limit.trim().parse().ok().filter(|limit| (1..LIMIT_MAX).contains(limit))?;
            Some(Self { directory: directory.to_owned(), version, limit })
        });
        limited.min_by_key(|group| group.limit)
    }

    /// Bytes that count against the limit and that the kernel could not take back: memory of programs, and the kernel's
    /// own on their behalf, such as the buffers of their sockets.
    pub(crate) fn used(&self) -> io::Result<u64> {
        let usage = fs::read_to_string(self.directory.join(self.version.usage_file()))?;
        let usage: u64 = usage.trim().parse().map_err(io::Error::other)?;
        let stat = fs::read_to_string(self.directory.join("memory.stat"))?;
        let reclaimable = stat.lines().filter_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            self.version.reclaimable().contains(&name).then(|| bytes.trim().parse::<u64>().ok())?
        });
        Ok(usage.saturating_sub(reclaimable.sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "5:devices:/\n4:memory,hugetlb:/pods/a\n3:cpuset:/\n0::/\n";
    const V2: &str = "0::/pods/a\n";

    /// A mount point with these files.
    fn mount(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mount
    }

    #[test]
    fn the_smallest_limit_above_a_process_binds_it() {
        let check = |membership: &str, files: &[(&str, &str)], expected: Option<(&str, u64)>| {
            let mount = mount(files);
            let found = Cgroup::limited_of(membership, mount.path());
            let expected = expected.map(|(directory, limit)| (mount.path().join(directory), limit));
            assert_eq!(found.map(|group| (group.directory, group.limit)), expected, "{files:?}");
        };
        check(V2, &[("pods/a/memory.max", "max\n"), ("pods/memory.max", "1000\n")], Some(("pods", 1000)));
        check(V2, &[("pods/a/memory.max", "900\n"), ("pods/memory.max", "1000\n")], Some(("pods/a", 900)));
        check(V2, &[("pods/a/memory.max", "900\n"), ("pods/memory.max", "800\n")], Some(("pods", 800)));
        check(V2, &[("pods/a/memory.max", "max\n")], None);
        check(V2, &[("pods/a/memory.max", "0\n")], None);
        check(V2, &[("memory.max", "700\n")], Some(("", 700)));
        check(V2, &[], None);
        check(V1, &[("memory/pods/a/memory.limit_in_bytes", "900\n")], Some(("memory/pods/a", 900)));
        check(V1, &[("memory/memory.limit_in_bytes", "900\n")], Some(("memory", 900)));
        check(V1, &[("memory/pods/a/memory.limit_in_bytes", "9223372036854771712\n")], None);
        check("", &[("memory.max", "700\n")], None);
        check("nonsense", &[("memory.max", "700\n")], None);
    }

    #[test]
    fn what_the_kernel_can_take_back_is_not_used() {
        let v2 = mount(&[
            ("pods/a/memory.max", "100000"),
            ("pods/a/memory.current", "70000\n"),
            (
                "pods/a/memory.stat",
                "anon 40000\nfile 19000\nsock 6000\nshmem 1000\ninactive_file 10000\nactive_file 8000\n\
                 slab_reclaimable 2000\nslab_unreclaimable 500\n",
            ),
        ]);
        assert_eq!(Cgroup::limited_of(V2, v2.path()).unwrap().used().unwrap(), 50_000);
        let v1 = mount(&[
            ("memory/pods/a/memory.limit_in_bytes", "100000"),
            ("memory/pods/a/memory.usage_in_bytes", "70000\n"),
            (
                "memory/pods/a/memory.stat",
                "inactive_file 1\nactive_file 1\ntotal_rss 1\ntotal_inactive_file 10000\ntotal_active_file 8000\n",
            ),
        ]);
        assert_eq!(Cgroup::limited_of(V1, v1.path()).unwrap().used().unwrap(), 52_000);
    }

    #[test]
    fn a_group_that_cannot_be_read_says_so() {
        let mount = mount(&[("pods/a/memory.max", "1000"), ("pods/a/memory.current", "many")]);
        let group = Cgroup::limited_of(V2, mount.path()).unwrap();
        assert!(group.used().is_err());
        fs::remove_file(mount.path().join("pods/a/memory.current")).unwrap();
        assert!(group.used().is_err());
    }
}
