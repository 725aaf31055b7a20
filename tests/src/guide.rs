//! The blocks of a page of the documentation, found by the comment in front of each.
//!
//! `<!-- test: NAME -->` stands in front of a command that a test runs as it is printed (`NAME exits N` if it is to fail with
//! that code), `<!-- prints: NAME -->` in front of what it prints, `<!-- file: NAME -->` in front of a file.

use crate::repository::text;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A command for the shell.
    Test,
    /// Lines that the command of the same name prints, in this order; `…` stands for anything.
    Prints,
    /// The text of a file.
    File,
}

/// A fenced block with its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: Kind,
    /// The name in its comment.
    pub name: String,
    /// The code with which its command ends.
    pub exit: i32,
    /// Its lines, without the indentation of the fence.
    pub text: String,
}

/// The blocks of a page of the repository, by its path.
///
/// # Panics
/// If it cannot be read, or a block has no comment, or a comment no block.
pub fn page(path: &str) -> Vec<Block> {
    blocks(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The command behind `<!-- test: NAME -->` in the README, where other blocks have no comment.
///
/// # Panics
/// If there is none.
pub fn readme_command(name: &str) -> String {
    let readme = text("README.md");
    let (_, rest) = readme.split_once(&format!("<!-- test: {name} -->\n```sh\n")).expect("the README has it");
    let (command, _) = rest.split_once("```").expect("the block ends");
    command.to_owned()
}

/// The blocks of a page.
///
/// # Errors
/// Says at which line a comment or a fence is missing, or which name is used twice.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut mark: Option<(Kind, String, i32)> = None;
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let at = |text: &str| format!("line {}: {text}", number + 1);
        let content = line.trim_start();
        if !content.starts_with("```") {
            if mark.is_some() {
                return Err(at("the comment in front is not followed by a block"));
            }
            mark = comment(content).transpose().map_err(|error| at(&error))?;
            continue;
        }
        let (kind, name, exit) = mark.take().ok_or_else(|| at("no comment in front of this block"))?;
        let indent = line.len() - content.len();
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().ok_or_else(|| at("this block has no end"))?;
            if line.trim() == "```" {
                break;
            }
            text.push_str(line.get(indent..).unwrap_or_default());
            text.push('\n');
        }
        if blocks.iter().any(|block| block.kind == kind && block.name == name) {
            return Err(at(&format!("{name:?} is used twice")));
        }
        blocks.push(Block { kind, name, exit, text });
    }
    match mark {
        None => Ok(blocks),
        Some((_, name, _)) => Err(format!("{name:?} at the end of the page has no block")),
    }
}

/// What a line says about the block below it, if it does.
fn comment(line: &str) -> Option<Result<(Kind, String, i32), String>> {
    let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    let (kind, rest) = inner.split_once(": ")?;
    let kind = match kind {
        "test" => Kind::Test,
        "prints" => Kind::Prints,
        "file" => Kind::File,
        _ => return None,
    };
    let (name, exit) = match rest.split_once(" exits ") {
        None => (rest, Ok(0)),
        Some((name, code)) => (name, code.parse().map_err(|_| format!("{code:?} is no exit code"))),
    };
    Some(exit.map(|exit| (kind, name.to_owned(), exit)))
}

/// Whether the lines of `expected` stand in `output` in this order. `…` stands for anything within a line.
///
/// # Errors
/// The first line that was not found.
pub fn prints(expected: &str, output: &str) -> Result<(), String> {
    let mut lines = output.lines();
    for wanted in expected.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "…") {
        if !lines.any(|line| fits(wanted, line.trim())) {
            return Err(format!("{wanted:?} is not printed, or not in this order"));
        }
    }
    Ok(())
}

fn fits(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_comments() {
        let page = "# A\n\n<!-- test: a/b exits 64 -->\n```sh\nx\n```\n\n- b\n\n  <!-- prints: a/b -->\n  ```text\n  y\n    z\n  ```\n";
        let block = |kind, exit, text: &str| Block { kind, name: "a/b".into(), exit, text: text.into() };
        let expected = vec![block(Kind::Test, 64, "x\n"), block(Kind::Prints, 0, "y\n  z\n")];
        assert_eq!(blocks(page), Ok(expected));
    }

    #[test]
    fn what_nobody_would_run_is_an_error() {
        let check = |page: &str, wanted: &str| {
            let error = blocks(page).expect_err(page);
            assert!(error.contains(wanted), "{page:?}: {error}");
        };
        check("```sh\nx\n```\n", "no comment");
        check("<!-- test: a -->\n\n```sh\nx\n```\n", "not followed");
        check("<!-- test: a -->", "no block");
        check("<!-- test: a -->\n```sh\nx\n", "no end");
        check("<!-- test: a -->\n```sh\n```\n<!-- test: a -->\n```sh\n```\n", "twice");
        check("<!-- test: a exits often -->\n", "exit code");
    }

    #[test]
    fn printed_lines_are_compared_in_order() {
        assert_eq!(prints("a … c\n…\nd\n", "x\na b c\ny\nd\n"), Ok(()));
        for (expected, output) in
            [("a", "ab"), ("b\na", "a\nb"), ("a…d", "a b c"), ("a…b…c", "a c"), ("", "x\n"), ("a\na", "a")]
        {
            assert_eq!(prints(expected, output).is_ok(), expected.is_empty(), "{expected:?} in {output:?}");
        }
    }
}
