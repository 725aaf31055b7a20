//! The scripts as a next release might have them: of other digests, and each place where something may be added has an addition.
//! Only in builds with `faults`, see [`rivulet_core::fault`].

use std::borrow::Cow;

use rivulet_core::fault::{self, Fault};

/// What is added, by script: the text that is replaced, and by what.
const ADDED: [(&str, &str, &str); 11] = [
    ("append", "'p', before, 'e', envelope)", "'p', before, 'e', envelope, 'x', 'next')"),
    ("append", "'n', #envelope)", "'n', #envelope, 'x', 'next')"),
    ("append", "local announcement = head ..", "local announcement = head .. ' next 7' .."),
    ("append", "'B' .. birth)", "'B' .. birth .. ' next')\n  call(publish, ARGV[5], 'next')"),
    ("append", "call('SET', KEYS[2], birth)", "call('SET', KEYS[2], birth .. ' next')"),
    ("tick", "call('SET', KEYS[2], position)", "call('SET', KEYS[2], position .. ' next')"),
    ("tick", "'B' .. position)", "'B' .. position .. ' next')"),
    ("tick", "'T' .. position)", "'T' .. position .. ' next')\ncall(ARGV[5], ARGV[2], 'next')"),
    ("takeover", "'B' .. birth)", "'B' .. birth .. ' next')"),
    ("switch", "'c', ARGV[3])", "'c', ARGV[3], 'f', '3')"),
    ("open", "local found =", "call('HSET', layout, 'x', 'next')\nlocal found ="),
];

/// A script of the release that this process is told to be.
pub(crate) fn script(name: &'static str, code: &'static str) -> Cow<'static, str> {
    if fault::is(Fault::NextVersion) { Cow::Owned(next(name, code)) } else { Cow::Borrowed(code) }
}

fn next(name: &str, code: &str) -> String {
    let mut next = format!("redis.call('TIME')\n{code}");
    for (_, old, new) in ADDED.iter().filter(|(of, ..)| *of == name) {
        assert!(next.contains(old), "{old:?} is not in {name}.lua");
        next = next.replace(old, new);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_addition_finds_its_place() {
        for (name, code) in [
            ("append", include_str!("scripts/append.lua")),
            ("tick", include_str!("scripts/tick.lua")),
            ("takeover", include_str!("scripts/takeover.lua")),
            ("switch", include_str!("scripts/switch.lua")),
            ("open", include_str!("scripts/open.lua")),
        ] {
            assert_ne!(next(name, code), code, "{name}");
        }
    }
}
