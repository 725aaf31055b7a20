//! URI Templates: the RFC's examples, expansions that match again, and the regular expressions that the steps replace.

mod expansion;

use proptest::prelude::*;
use rivulet_core::{
    Topic,
    uri_template::{TemplateError, UriTemplate, VARIABLES_MAX},
};

fn matches(template: &str, topic: &str) -> bool {
    let template = UriTemplate::parse(template).expect("is a template");
    template.matches(&Topic::parse(topic).expect("is a topic"))
}

fn check(template: &str, topics: &[&str], others: &[&str]) {
    for topic in topics {
        assert!(matches(template, topic), "{template} {topic}");
    }
    for topic in others {
        assert!(!matches(template, topic), "{template} {topic}");
    }
}

#[test]
fn a_variable_stops_at_reserved_characters() {
    check(
        "https://example.com/books/{id}",
        &[
            "https://example.com/books/1",
            "https://example.com/books/a-b.c_d~e",
            "https://example.com/books/caf%C3%A9%2F",
            "https://example.com/books/1,2",
            "https://example.com/books/",
            "https://example.com/books/{id}",
        ],
        &[
            "https://example.com/books",
            "https://example.com/books/1/",
            "https://example.com/books/1/2",
            "https://example.com/books/1?a",
            "https://example.com/books/1#a",
            "https://example.com/books/%",
            "https://example.com/books/%4",
            "https://example.com/books/%4g",
            "https://example.com/books/é",
            "https://example_com/books/1",
            "xhttps://example.com/books/1",
        ],
    );
    check("/{a}/x/{b}", &["/1/x/2", "/x/x/x", "//x/"], &["/1/2", "/1/x/2/3", "/1/2/x/3"]);
    check("/{a}-{b}", &["/1-2", "/1-2-3", "/-"], &["/1", "/1-/"]);
    check("{a}", &["a", "%41"], &["/", "a/"]);
}

#[test]
fn reserved_expansion_crosses_everything() {
    check(
        "/books/{+path}",
        &["/books/1/2/3?a=b#c", "/books/", "/books/%20"],
        &["/book/1", "/books/ ", "/books/%"],
    );
    check("{+base}/x", &["https://example.com/a/x", "/x", "/x/x"], &["x", "/x/"]);
    check("/a{#section}", &["/a", "/a#", "/a#b/c"], &["/ab", "/a/b"]);
}

#[test]
fn the_examples_of_the_rfc_match() {
    for (template, expansion) in [
        ("{var}", "value"),
        ("{hello}", "Hello%20World%21"),
        ("{+hello}", "Hello%20World!"),
        ("{+path}/here", "/foo/bar/here"),
        ("here?ref={+path}", "here?ref=/foo/bar"),
        ("X{#var}", "X#value"),
        ("X{#hello}", "X#Hello%20World!"),
        ("map?{x,y}", "map?1024,768"),
        ("{x,hello,y}", "1024,Hello%20World%21,768"),
        ("{+x,hello,y}", "1024,Hello%20World!,768"),
        ("{+path,x}/here", "/foo/bar,1024/here"),
        ("{#path,x}/here", "#/foo/bar,1024/here"),
        ("X{.var}", "X.value"),
        ("X{.x,y}", "X.1024.768"),
        ("{/var}", "/value"),
        ("{/var,x}/here", "/value/1024/here"),
        ("{/var:1,var}", "/v/value"),
        ("{/list*,path:4}", "/red/green/blue/%2Ffoo"),
        ("{;x,y}", ";x=1024;y=768"),
        ("{;x,y,empty}", ";x=1024;y=768;empty"),
        ("{?x,y}", "?x=1024&y=768"),
        ("{?x,y,empty}", "?x=1024&y=768&empty="),
        ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
        ("{&x,y,empty}", "&x=1024&y=768&empty="),
        ("{var:3}", "val"),
        ("{var:30}", "value"),
        ("{list*}", "red,green,blue"),
        ("{keys*}", "semi=%3B,dot=.,comma=%2C"),
        ("{+path:6}/here", "/foo/b/here"),
        ("{#keys*}", "#semi=;,dot=.,comma=,"),
        ("X{.list*}", "X.red.green.blue"),
        ("{/keys*}", "/semi=%3B/dot=./comma=%2C"),
        ("{;list*}", ";list=red;list=green;list=blue"),
        ("{?keys*}", "?semi=%3B&dot=.&comma=%2C"),
    ] {
        check(template, &[expansion], &[]);
    }
}

#[test]
fn segments_and_parameters_are_counted_and_named() {
    check("/a{/b,c}", &["/a", "/a/1", "/a/1/2"], &["/a/1/2/3", "/ab"]);
    check("/a{/b*}", &["/a", "/a/1/2/3"], &["/a/1?"]);
    check(
        "/a{?b,c}",
        &["/a", "/a?b=1", "/a?c=1", "/a?b=1&c=2", "/a?b="],
        &["/a?", "/a?d=1", "/a?b", "/a?b=1?c=2"],
    );
    check("/a{?b*}", &["/a", "/a?b=1&b=2", "/a?x=1&y=2"], &["/a&b=1"]);
    check("/a?x=1{&b}", &["/a?x=1", "/a?x=1&b=2"], &["/a?x=1&c=2", "/a?x=1b=2"]);
    check("/a{;b,bc}", &["/a", "/a;b", "/a;bc;b=1", "/a;b=1;bc=2"], &["/a;", "/a;c", "/a;bcd"]);
}

#[test]
fn a_prefix_modifier_limits_the_characters_of_a_value() {
    check("/{a:2}/b", &["/x/b", "/xy/b", "/%C3%A9%E6%97%A5/b"], &["/xyz/b", "/x,y/b", "/x%20y/b"]);
    check("/a{?b:1}", &["/a?b=1", "/a?b="], &["/a?b=12"]);
    check("{a:9999}", &[&"x".repeat(4096)], &[]);
}

/// A list has no prefix (RFC 6570, 2.4.1), and the comma of a text is `%2C` wherever reserved characters are encoded.
#[test]
fn a_value_with_a_prefix_modifier_holds_no_comma_of_a_list() {
    check("&,{;a:4}=a%2Fb", &["&,;a=20%a3%20=a%2Fb"], &["&,;a=,20%a3%20=a%2Fb"]);
    check("{a:4}", &["x%2Cy"], &["x,y", ","]);
    check("{/a:4}", &["/x%2Cy"], &["/x,y", "/,"]);
    check("{.a:4}", &[".x%2Cy"], &[".x,y", ".,"]);
    check("{;a:4}", &[";a=x%2Cy"], &[";a=x,y", ";a=,"]);
    check("{?a:4}", &["?a=x%2Cy"], &["?a=x,y", "?a=,"]);
    check("{&a:4}", &["&a=x%2Cy"], &["&a=x,y", "&a=,"]);
    check("{+a:4}", &["x,y", "x%2Cy"], &["x,y,z"]);
    check("{#a:4}", &["#x,y", "#x%2Cy"], &["#x,y,z"]);
    // Other variables of the expression keep theirs, also one of the same name.
    check("{?a:4,b}", &["?b=x,y", "?b=x,y&a=x"], &["?a=x,y", "?a=x,y&b=x", "?b=x,y&a=x,y"]);
    check("{?a:1,a}", &["?a=x,y", "?a=x&a=x,y"], &[]);
}

#[test]
fn malformed_templates_are_refused_with_the_place() {
    let check = |template: &str, expected: TemplateError| {
        assert_eq!(UriTemplate::parse(template).unwrap_err(), expected, "{template}");
    };
    let variable = |variable: &str, at| TemplateError::Variable { variable: variable.into(), at };
    check("/a/{id", TemplateError::Unclosed(3));
    check("/a/{", TemplateError::Unclosed(3));
    check("/a/{}", TemplateError::EmptyExpression(3));
    check("/a/{?}", TemplateError::EmptyExpression(3));
    check("{=a}", TemplateError::ReservedOperator { operator: '=', at: 1 });
    for operator in [',', '!', '@', '|'] {
        check(&format!("/{{{operator}a}}"), TemplateError::ReservedOperator { operator, at: 2 });
    }
    check("{a b}", variable("a b", 1));
    check("{a,}", variable("", 3));
    check("{?a,b-c}", variable("b-c", 4));
    check("{a.}", variable("a.", 1));
    check("{.a..b}", variable("a..b", 2));
    check("{%4}", variable("%4", 1));
    check("{é}", variable("é", 1));
    check("{{a}}", variable("{a", 1));
    for modifier in ["a:", "a:0", "a:01", "a:10000", "a:-1", "a:x", "a:1*", "a*:1", "a**", ":1", "*"] {
        check(&format!("{{{modifier}}}"), variable(modifier, 1));
    }
    check("/a}{b}", TemplateError::Literal { character: '}', at: 2 });
    check("/a b/{c}", TemplateError::Literal { character: ' ', at: 2 });
    check("/100%/{c}", TemplateError::Literal { character: '%', at: 4 });
    check(&"{a}".repeat(VARIABLES_MAX + 1), TemplateError::TooManyVariables(VARIABLES_MAX + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_expansion_matches(pieces in expansion::pieces()) {
        let (text, expansion) = (expansion::text(&pieces), expansion::expand(&pieces));
        let template = UriTemplate::parse(&text).unwrap();
        if let Ok(topic) = Topic::parse(&expansion) {
            prop_assert!(template.matches(&topic), "{} {}", text, expansion);
        }
    }

    #[test]
    fn a_template_matches_what_its_regular_expression_matches(
        pieces in expansion::pieces(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[a-c/.,;?&=#%4{}]?"), 0..4),
    ) {
        let (text, mut topic_text) = (expansion::text(&pieces), expansion::expand(&pieces));
        let template = UriTemplate::parse(&text).unwrap();
        let regex = regex::Regex::new(&expansion::regex(&pieces)).unwrap();
        for (at, replacement) in changes {
            let indices: Vec<_> = topic_text.char_indices().collect();
            let Some((at, old)) = indices.get(at.index(indices.len().max(1))) else { break };
            topic_text.replace_range(*at..at + old.len_utf8(), &replacement);
        }
        if let Ok(topic) = Topic::parse(&topic_text) {
            let expected = regex.is_match(&topic_text) || topic_text == text;
            prop_assert_eq!(template.matches(&topic), expected, "{} {} {}", text, topic_text, regex);
        }
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[{}a-b,.:*+#?&/%0-9é ]{0,40}", topic in "[ab/%4?=é]{1,20}") {
        if let Ok(template) = UriTemplate::parse(&text) {
            template.matches(&Topic::parse(&topic).unwrap());
        }
    }
}
