//! `docs/proxies.md` and the files that it explains.
