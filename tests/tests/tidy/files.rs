//! Lengths of files and functions, first lines, and `unwrap`.

use std::path::{Path, PathBuf};

use super::repository::{files, text};

/// A file with its tests.
const FILE_LINES_MAX: usize = 400;

/// A function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// A file that is longer holds more than one noun; a name here says nothing about what a file owns.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "types", "misc"];

fn rust_files() -> Vec<(PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), text(&path).expect("Rust is UTF-8"))).collect()
}

#[test]
fn every_file_is_short() {
    let long: Vec<_> = rust_files()
        .iter()
        .map(|(path, text)| (path.clone(), text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {FILE_LINES_MAX} lines: {long:?}");
}

#[test]
fn every_function_is_short() {
    let mut long = Vec::new();
    for (path, text) in rust_files() {
        long.extend(
            functions(&text)
                .filter(|(_, lines)| *lines > FUNCTION_LINES_MAX)
                .map(|(name, lines)| format!("{}: {name} has {lines} lines", path.display())),
        );
    }
    assert!(long.is_empty(), "longer than {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n}\n\nfn c();\nfn d() {}\n";
    let measured: Vec<_> = functions(text).collect();
    assert_eq!(measured, [("a".to_owned(), 5), ("d".to_owned(), 1)]);
}

/// Name and length of each function with a body. Formatted code closes a body with a brace in the column of its `fn`.
fn functions(text: &str) -> impl Iterator<Item = (String, usize)> + '_ {
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|number| name_of_function(lines[*number]).is_some()).collect();
    starts.into_iter().filter_map(move |start| {
        let name = name_of_function(lines[start])?.to_owned();
        let indent = lines[start].len() - lines[start].trim_start().len();
        let last = lines[start..].iter().position(|line| {
            let own = line.len() - line.trim_start().len() == indent;
            own && (line.ends_with('}') || line.ends_with(';'))
        })?;
        lines[start + last].ends_with('}').then_some((name, last + 1))
    })
}

fn name_of_function(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

#[test]
fn every_file_begins_with_what_it_owns() {
    let silent: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "the first line is not a //! sentence in {silent:?}");
}

#[test]
fn no_file_has_an_empty_name() {
    let is_empty =
        |path: &Path| path.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| stem == *name));
    let empty: Vec<_> =
        rust_files().into_iter().map(|(path, _)| path).filter(|path| is_empty(path)).collect();
    assert!(empty.is_empty(), "{empty:?} tell nothing about what they own");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut found = Vec::new();
    for (path, text) in rust_files() {
        let is_product =
            path.starts_with("crates") && path.components().any(|part| part.as_os_str() == "src");
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests")
            || path.components().any(|part| part.as_os_str() == "tests");
        if !is_product || is_test {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains(".unwrap()") || code.contains("unsafe ") {
                found.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "`expect` says why it cannot happen:\n{}", found.join("\n"));
}
