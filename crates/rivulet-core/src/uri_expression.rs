//! One expression of a URI Template (RFC 6570, 3.2): what it may expand to.
//!
//! An expression advances a set of positions in the topic to the set of positions that one of its expansions leads to.
//! One pass over the topic suffices, because a value has no memory but the number of characters that it may still take.

use smallvec::SmallVec;

use crate::{reach::Reach, uri_template::TemplateError};

/// Part of a template between braces. The operators `/` and `.` give one of these per variable, the others one.
#[derive(Debug)]
pub(crate) struct Expression {
    /// What stands before the first value, if the expression is not undefined.
    lead: Option<u8>,
    /// What stands before each further value, if there may be any number of them.
    again: Option<u8>,
    /// The classes of bytes that a value may contain, beside `%XX`; see also [`Expression::allowed_within`].
    allowed: u8,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Values without a name, or with names that a map brings, each of at most so many characters.
    Plain(Budget),
    /// `name=value`, each name one of these.
    Named(Box<[(Box<str>, Budget)]>),
    /// As `Named`, but an empty value is written without `=`.
    NamedOrBare(Box<[(Box<str>, Budget)]>),
}

/// How many characters a value may still take, plus one; 0 where there is no value. [`UNLIMITED`] never shrinks.
type Budget = u16;

const UNLIMITED: Budget = Budget::MAX;

const UNRESERVED: u8 = 1;
const COMMA: u8 = 2;
const EQUALS: u8 = 4;
const RESERVED: u8 = 8;

/// The classes of each byte (RFC 6570, 1.5).
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128u8 {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => UNRESERVED,
            b',' => COMMA | RESERVED,
            b'=' => EQUALS | RESERVED,
            b':' | b'/' | b'?' | b'#' | b'[' | b']' | b'@' => RESERVED,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' => RESERVED,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

impl Expression {
    /// Parses what stands between the braces; `at` is where the opening brace stands, for errors.
    pub(crate) fn parse(body: &str, at: usize) -> Result<Vec<Self>, TemplateError> {
        let operator = body.chars().next().ok_or(TemplateError::EmptyExpression(at))?;
        if "=,!@|".contains(operator) {
            return Err(TemplateError::ReservedOperator { operator, at: at + 1 });
        }
        let (operator, list) = match body.split_at_checked(1) {
            Some((_, list)) if "+#./;?&".contains(operator) => (operator, list),
            _ => (' ', body),
        };
        if list.is_empty() {
            return Err(TemplateError::EmptyExpression(at));
        }
        let mut variables = Vec::new();
        let mut variable_at = at + 1 + (body.len() - list.len());
        for text in list.split(',') {
            let variable = Variable::parse(text)
                .ok_or_else(|| TemplateError::Variable { variable: text.into(), at: variable_at })?;
            variables.push(variable);
            variable_at += text.len() + 1;
        }
        Ok(Self::compile(operator, &variables))
    }

    fn compile(operator: char, variables: &[Variable<'_>]) -> Vec<Self> {
        let joined_budget = if let [variable] = variables { variable.budget } else { UNLIMITED };
        let list = |lead, class| {
            let equals = if variables.iter().any(|variable| variable.explodes) { EQUALS } else { 0 };
            vec![Self {
                lead,
                again: None,
                allowed: class | COMMA | equals,
                values: Values::Plain(joined_budget),
            }]
        };
        match operator {
            '+' => list(None, UNRESERVED | RESERVED),
            '#' => list(Some(b'#'), UNRESERVED | RESERVED),
            '.' => variables.iter().map(|variable| Self::segment(b'.', variable)).collect(),
            '/' => variables.iter().map(|variable| Self::segment(b'/', variable)).collect(),
            ';' => vec![Self::pairs(b';', b';', variables, Values::NamedOrBare)],
            '?' => vec![Self::pairs(b'?', b'&', variables, Values::Named)],
            '&' => vec![Self::pairs(b'&', b'&', variables, Values::Named)],
            _ => list(None, UNRESERVED),
        }
    }

    fn segment(separator: u8, variable: &Variable<'_>) -> Self {
        let equals = if variable.explodes { EQUALS } else { 0 };
        Self {
            lead: Some(separator),
            again: variable.explodes.then_some(separator),
            allowed: UNRESERVED | COMMA | equals,
            values: Values::Plain(variable.budget),
        }
    }

    fn pairs(
        lead: u8,
        again: u8,
        variables: &[Variable<'_>],
        named: impl FnOnce(Box<[(Box<str>, Budget)]>) -> Values,
    ) -> Self {
        let (lead, again) = (Some(lead), Some(again));
        if variables.iter().any(|variable| variable.explodes) {
            return Self {
                lead,
                again,
                allowed: UNRESERVED | COMMA | EQUALS,
                values: Values::Plain(UNLIMITED),
            };
        }
        let names = variables.iter().map(|variable| (variable.name.into(), variable.budget)).collect();
        Self { lead, again, allowed: UNRESERVED | COMMA, values: named(names) }
    }

    /// Adds the positions that an expansion leads to. Those that are there stay: undefined variables expand to nothing.
    pub(crate) fn advance(&self, topic: &[u8], reach: &mut Reach) {
        if let (None, Values::Plain(UNLIMITED)) = (self.lead, &self.values) {
            return self.advance_freely(topic, reach);
        }
        let mut budgets: SmallVec<[Budget; 128]> = smallvec::smallvec![0; topic.len() + 1];
        let from = reach.clone();
        let mut at = reach.first();
        // What is found lies behind the position that is looked at, so one pass finds everything.
        while at <= reach.last() {
            if self.lead.is_none() && from.contains(at) {
                self.begin_value(topic, at, &mut budgets, reach);
            }
            let budget = budgets[at];
            let Some(byte) = topic.get(at).copied() else { break };
            let separates = if self.lead == self.again {
                // Before the first value, between values, and after a name without value.
                self.lead == Some(byte) && reach.contains(at)
            } else {
                (self.lead == Some(byte) && from.contains(at)) || (self.again == Some(byte) && budget > 0)
            };
            if separates {
                self.begin_value(topic, at + 1, &mut budgets, reach);
            }
            if budget > 0 {
                if CLASSES[usize::from(byte)] & self.allowed_within(budget) != 0 {
                    continue_value(at + 1, spend(budget, 1), &mut budgets, reach);
                } else if is_triplet(&topic[at..]) {
                    continue_value(at + 3, spend(budget, triplet_cost(&topic[at..])), &mut budgets, reach);
                }
            }
            at += 1;
        }
    }

    /// The classes of bytes that a value with this budget may contain. A value with a limit is a text, since a list has no
    /// prefix (RFC 6570, 2.4.1): it has no comma that joins a list, only one that all reserved characters come with. Asked
    /// per value, because an expression may name values with and without a limit.
    fn allowed_within(&self, budget: Budget) -> u8 {
        match budget {
            UNLIMITED => self.allowed,
            _ => self.allowed & !COMMA,
        }
    }

    /// As `advance`, for the most usual expressions, `{id}` and `{+path}`: every position reached is one in a value.
    fn advance_freely(&self, topic: &[u8], reach: &mut Reach) {
        let mut at = reach.first();
        while at <= reach.last() && at < topic.len() {
            if reach.contains(at) {
                if CLASSES[usize::from(topic[at])] & self.allowed != 0 {
                    reach.insert(at + 1);
                } else if is_triplet(&topic[at..]) {
                    reach.insert(at + 3);
                }
            }
            at += 1;
        }
    }

    /// Begins each value that may begin at `at`, behind its name if it has one. A value may end where it begins.
    fn begin_value(&self, topic: &[u8], at: usize, budgets: &mut [Budget], reach: &mut Reach) {
        let names = match &self.values {
            Values::Plain(budget) => return continue_value(at, *budget, budgets, reach),
            Values::Named(names) | Values::NamedOrBare(names) => names,
        };
        for (name, budget) in names {
            let end = at + name.len();
            if !topic[at..].starts_with(name.as_bytes()) {
                continue;
            }
            if topic.get(end) == Some(&b'=') {
                continue_value(end + 1, *budget, budgets, reach);
            }
            if let Values::NamedOrBare(_) = self.values {
                reach.insert(end);
            }
        }
    }
}

/// Goes on with a value at `at`, where it may also end, if it had budget left to get there.
fn continue_value(at: usize, budget: Budget, budgets: &mut [Budget], reach: &mut Reach) {
    if budget > 0 {
        budgets[at] = budget.max(budgets[at]);
        reach.insert(at);
    }
}

/// A variable of an expression, with its modifier (RFC 6570, 2.3 and 2.4).
struct Variable<'a> {
    name: &'a str,
    budget: Budget,
    explodes: bool,
}

impl<'a> Variable<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, budget, explodes) = match (text.strip_suffix('*'), text.split_once(':')) {
            (Some(name), _) => (name, UNLIMITED, true),
            (None, Some((name, len))) => (name, parse_prefix_len(len)? + 1, false),
            (None, None) => (text, UNLIMITED, false),
        };
        is_variable_name(name).then_some(Self { name, budget, explodes })
    }
}

/// The length of a prefix modifier: 1 to 9999, without leading zeros.
fn parse_prefix_len(digits: &str) -> Option<u16> {
    let canonical =
        digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') && digits.len() <= 4;
    canonical.then(|| digits.parse().ok())?
}

fn is_variable_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    let mut after_dot = true;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'.' if !after_dot => after_dot = true,
            b'%' if is_triplet(&bytes[at..]) => {
                after_dot = false;
                at += 2;
            }
            b'_' | b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => after_dot = false,
            _ => return false,
        }
        at += 1;
    }
    !after_dot
}

/// Whether `bytes` begin with `%XX`.
pub(crate) fn is_triplet(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// How many characters a triplet begins: none if it continues a UTF-8 sequence (`%80` to `%BF`).
fn triplet_cost(triplet: &[u8]) -> u16 {
    u16::from(!matches!(triplet[1], b'8' | b'9' | b'A' | b'B' | b'a' | b'b'))
}

fn spend(budget: Budget, cost: u16) -> Budget {
    match budget {
        UNLIMITED => UNLIMITED,
        limited => limited.saturating_sub(cost),
    }
}
