//! The protocol seen from outside, the same on both transports.
//!
//! A test is a function of a [`rivulet_tests::Backend`] that stands in the list at the end of its file. One that does
//! not is dead code, which the lints refuse.

/// Makes two tests of each function: one on memory, one on a Redis of its own.
macro_rules! on_both_transports {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(rivulet_tests::Backend::Memory).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(rivulet_tests::Backend::Redis).await;
            })*
        }
    };
}

mod abuse;
mod batch;
mod cookies;
mod cors;
mod endings;
mod identifiers;
mod matching;
mod private;
mod publish;
mod replay;
mod reserved;
mod subscribe;
mod tokens_v0;
mod tokens_v1;
