//! Shipped configuration, taken as it is but for what has other names in a test: addresses, ports, paths, waits.

/// Replaces each text by another one, in this order, wherever it stands.
///
/// # Errors
/// Names the text that does not stand there: then the test would run something else than it says.
pub fn substitute(text: &str, pairs: &[(String, String)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (from, to) in pairs {
        if !text.contains(from.as_str()) {
            return Err(format!("{from:?} does not stand in\n{text}"));
        }
        text = text.replace(from.as_str(), to);
    }
    Ok(text)
}

/// A pair for [`substitute`].
pub fn pair(from: impl Into<String>, to: impl Into<String>) -> (String, String) {
    (from.into(), to.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_replaced_in_the_order_of_the_pairs() {
        let pairs = [pair("a:1", "b:2"), pair("b", "c")];
        assert_eq!(substitute("a:1 b a:1", &pairs).as_deref(), Ok("c:2 c c:2"));
    }

    #[test]
    fn what_does_not_stand_there_is_an_error() {
        let error = substitute("a b", &[pair("a", "x"), pair("timeout", "y")]).expect_err("it is missing");
        assert!(error.contains("\"timeout\""), "{error}");
    }
}
