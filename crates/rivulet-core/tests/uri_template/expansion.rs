//! URI Templates as data: a text, an expansion (RFC 6570, 3.2.1) and a regular expression can be made of each.

use std::fmt::Write;

use proptest::{collection::vec, prelude::*};

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Literal(String),
    Expression { operator: char, variables: Vec<Variable> },
}

/// A variable of an expression, and the value that it has.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    name: String,
    modifier: Modifier,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Modifier {
    None,
    Explode,
    Prefix(usize),
}

#[derive(Clone, Debug)]
enum Value {
    Undefined,
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// Templates of up to six pieces, with a value for each variable.
pub(crate) fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let literal = "[a-c/.?&;=#,~é]{1,4}|%41|a%2Fb".prop_map(Piece::Literal);
    let operator = prop::sample::select(" +#./;?&".chars().collect::<Vec<_>>());
    let expression = (operator, vec(variable(), 1..4))
        .prop_map(|(operator, variables)| Piece::Expression { operator, variables });
    vec(prop_oneof![literal, expression], 0..6)
}

fn variable() -> impl Strategy<Value = Variable> {
    let text = || "[a-c/.,=&?#%! é日]{0,6}";
    let modifier = prop_oneof![
        3 => Just(Modifier::None),
        1 => Just(Modifier::Explode),
        1 => (1..5_usize).prop_map(Modifier::Prefix),
    ];
    let value = prop_oneof![
        1 => Just(Value::Undefined),
        4 => text().prop_map(Value::Text),
        1 => vec(text(), 0..4).prop_map(Value::List),
        1 => vec(("[a-c=é]{1,3}", text()), 0..3).prop_map(Value::Map),
    ];
    ("[ab](\\.c)?|%41", modifier, value).prop_map(|(name, modifier, value)| {
        // A prefix of a list is not defined.
        let value = match (modifier, value) {
            (Modifier::Prefix(_), Value::List(_) | Value::Map(_)) => Value::Undefined,
            (_, value) => value,
        };
        Variable { name, modifier, value }
    })
}

pub(crate) fn text(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => out += literal,
            Piece::Expression { operator, variables } => {
                let list: Vec<_> = variables
                    .iter()
                    .map(|Variable { name, modifier, .. }| match modifier {
                        Modifier::None => name.clone(),
                        Modifier::Explode => format!("{name}*"),
                        Modifier::Prefix(len) => format!("{name}:{len}"),
                    })
                    .collect();
                write!(out, "{{{}{}}}", operator.to_string().trim(), list.join(","))
                    .expect("a String takes everything");
            }
        }
    }
    out
}

struct Operator {
    first: &'static str,
    separator: &'static str,
    named: bool,
    if_empty: &'static str,
    reserved: bool,
}

fn operator(operator: char) -> Operator {
    let of = |first, separator, named, if_empty, reserved| Operator {
        first,
        separator,
        named,
        if_empty,
        reserved,
    };
    match operator {
        '+' => of("", ",", false, "", true),
        '#' => of("#", ",", false, "", true),
        '.' => of(".", ".", false, "", false),
        '/' => of("/", "/", false, "", false),
        ';' => of(";", ";", true, "", false),
        '?' => of("?", "&", true, "=", false),
        '&' => of("&", "&", true, "=", false),
        _ => of("", ",", false, "", false),
    }
}

pub(crate) fn expand(pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => out += literal,
            Piece::Expression { operator: character, variables } => {
                let operator = operator(*character);
                let expanded: Vec<_> =
                    variables.iter().filter_map(|variable| variable.expand(&operator)).collect();
                if !expanded.is_empty() {
                    out += operator.first;
                    out += &expanded.join(operator.separator);
                }
            }
        }
    }
    out
}

impl Variable {
    fn expand(&self, operator: &Operator) -> Option<String> {
        let encode = |text: &str| encode(text, operator.reserved);
        let pair = |name: &str, value: &str| match value {
            "" => format!("{name}{}", operator.if_empty),
            _ => format!("{name}={value}"),
        };
        let explodes = self.modifier == Modifier::Explode;
        let values: Vec<String> = match &self.value {
            Value::Undefined => return None,
            Value::List(list) if list.is_empty() => return None,
            Value::Map(map) if map.is_empty() => return None,
            Value::Text(text) => match self.modifier {
                Modifier::Prefix(len) => vec![encode(&text.chars().take(len).collect::<String>())],
                _ => vec![encode(text)],
            },
            Value::List(list) => list.iter().map(|item| encode(item)).collect(),
            Value::Map(map) if explodes && operator.named => {
                let pairs: Vec<_> =
                    map.iter().map(|(key, value)| pair(&encode(key), &encode(value))).collect();
                return Some(pairs.join(operator.separator));
            }
            Value::Map(map) if explodes => {
                map.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect()
            }
            Value::Map(map) => map.iter().flat_map(|(key, value)| [encode(key), encode(value)]).collect(),
        };
        let named = |value: &String| if operator.named { pair(&self.name, value) } else { value.clone() };
        if explodes {
            return Some(values.iter().map(named).collect::<Vec<_>>().join(operator.separator));
        }
        Some(named(&values.join(",")))
    }
}

fn encode(text: &str, reserved: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let stays = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (reserved && b":/?#[]@!$&'()*+,;=".contains(&byte));
        if stays {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

/// The regular expression that a template stands for, as `UriTemplate::matches` documents it.
pub(crate) fn regex(pieces: &[Piece]) -> String {
    let mut out = String::from(r"\A");
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => out += &regex::escape(literal),
            Piece::Expression { operator, variables } => out += &expression_regex(*operator, variables),
        }
    }
    out + r"\z"
}

fn expression_regex(operator: char, variables: &[Variable]) -> String {
    let explodes = variables.iter().any(|variable| variable.modifier == Modifier::Explode);
    match operator {
        '.' | '/' => variables
            .iter()
            .map(|variable| {
                let exploded = variable.modifier == Modifier::Explode;
                let value = value_regex(if exploded { ",=" } else { "," }, variable.modifier);
                format!("(?:[{operator}]{value}){}", if exploded { "*" } else { "?" })
            })
            .collect(),
        ';' | '?' | '&' => {
            let pairs: Vec<_> = variables
                .iter()
                .map(|Variable { name, modifier, .. }| {
                    let (name, value) = (regex::escape(name), value_regex(",", *modifier));
                    if operator == ';' { format!("{name}(?:={value})?") } else { format!("{name}={value}") }
                })
                .collect();
            let pair =
                if explodes { value_regex(",=", Modifier::None) } else { format!("(?:{})", pairs.join("|")) };
            let separator = if operator == '?' { '&' } else { operator };
            format!("(?:[{operator}]{pair}(?:{separator}{pair})*)?")
        }
        _ => {
            let modifier = if let [variable] = variables { variable.modifier } else { Modifier::None };
            let more = match operator {
                '+' | '#' => r":/?#\[\]@!$\&'()*+,;=",
                _ if explodes => ",=",
                _ => ",",
            };
            let value = match (operator, modifier) {
                ('+' | '#', Modifier::Prefix(len)) => prefix_regex(more, len),
                _ => value_regex(more, modifier),
            };
            if operator == '#' { format!("(?:#{value})?") } else { value }
        }
    }
}

/// A value; one with a prefix modifier is a text, so the commas of lists are not in it.
fn value_regex(more: &str, modifier: Modifier) -> String {
    match modifier {
        Modifier::Prefix(len) => prefix_regex("", len),
        _ => format!(r"(?:[A-Za-z0-9\-._\~{more}]|%[0-9A-Fa-f]{{2}})*"),
    }
}

/// At most `len` characters, where a triplet that continues a UTF-8 sequence is none.
fn prefix_regex(more: &str, len: usize) -> String {
    let continuation = "(?:%[89ABab][0-9A-Fa-f])*";
    let character = format!(r"(?:[A-Za-z0-9\-._\~{more}]|%[0-7C-Fc-f][0-9A-Fa-f])");
    format!("{continuation}(?:{character}{continuation}){{0,{len}}}")
}
