//! Whether JSON is fit to be passed on. Much that is JSON by the grammar breaks those who read it: lists in
//! lists without end, numbers that no reader has room for, halves of characters. Pure.
//!
//! It does not say whether a text is JSON: that is the parser's to say.

use std::fmt;

/// How deep lists and objects may be in each other; less than readers stand, since a result is in a task, and
/// a task is in a list.
pub(crate) const MAX_DEPTH: usize = 60;

/// How many characters a number may have.
pub(crate) const MAX_NUMBER: usize = 64;

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Depth,
    LongNumber(usize),
    LargeNumber(String),
    HalfCharacter(u16),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Depth => write!(
                f,
                "lists and objects are more than {MAX_DEPTH} deep in each other, which is the limit"
            ),
            Unfit::LongNumber(length) => {
                write!(f, "a number has {length} characters; the limit is {MAX_NUMBER}")
            }
            Unfit::LargeNumber(number) => {
                write!(
                    f,
                    "the number {number} is not in the range of a double, from -{max:e} to {max:e}",
                    max = f64::MAX
                )
            }
            Unfit::HalfCharacter(unit) => {
                write!(f, "\\u{unit:04x} is half of a character, and the other half does not follow")
            }
        }
    }
}

/// Whether all of it is fit.
pub(crate) fn check(json: &[u8]) -> Result<(), Unfit> {
    let mut rest = json;
    let mut depth = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Unfit::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => rest = check_string(rest)?,
            b'-' | b'0'..=b'9' => {
                let length = 1 + after.iter().take_while(|byte| is_in_number(**byte)).count();
                let (_, behind) = after.split_at(length - 1);
                let number = json.get(json.len() - after.len() - 1..json.len() - behind.len());
                check_number(number.unwrap_or_default())?;
                rest = behind;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_in_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

fn check_number(number: &[u8]) -> Result<(), Unfit> {
    if number.len() > MAX_NUMBER {
        return Err(Unfit::LongNumber(number.len()));
    }
    // Without an exponent it is too short to be too large.
    if !number.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return Ok(());
    }
    let number = String::from_utf8_lossy(number);
    match number.parse::<f64>() {
        Ok(value) if !value.is_finite() => Err(Unfit::LargeNumber(number.into_owned())),
        _ => Ok(()),
    }
}

/// What comes after the string.
fn check_string(string: &[u8]) -> Result<&[u8], Unfit> {
    let mut rest = string;
    loop {
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else { return Ok(&[]) };
        let (_, found) = rest.split_at(at);
        rest = match found {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'u', after @ ..] => check_unit(after)?,
            [_, _, after @ ..] => after,
            _ => return Ok(&[]),
        };
    }
}

/// Four hexadecimal digits, and if they are the first half of a character, the second; gives what comes
/// after.
fn check_unit(digits: &[u8]) -> Result<&[u8], Unfit> {
    let Some((unit, after)) = unit(digits) else { return Ok(digits) };
    match unit {
        0xD800..=0xDBFF => match after {
            [b'\\', b'u', second @ ..] => match self::unit(second) {
                Some((0xDC00..=0xDFFF, after)) => Ok(after),
                _ => Err(Unfit::HalfCharacter(unit)),
            },
            _ => Err(Unfit::HalfCharacter(unit)),
        },
        0xDC00..=0xDFFF => Err(Unfit::HalfCharacter(unit)),
        _ => Ok(after),
    }
}

fn unit(digits: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, after) = digits.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok().map(|unit| (unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_readers_is_unfit_and_all_else_is_not() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let long = |length: usize| "1".repeat(length);
        for fit in [
            String::new(),
            deep(MAX_DEPTH),
            "[[],[],{}]".repeat(100),
            long(MAX_NUMBER),
            format!("[{0},{0}]", long(MAX_NUMBER)),
            "1e308 -1e308 1e-999 0.1E+5".into(),
            format!("\"{}\"", long(1000)),
            format!("\"{}\"", "[".repeat(1000)),
            r#""\\" [ "\"[[\\\"" ]"#.into(),
            r#""\ud83d\ude00 \u00e4 \\ud800""#.into(),
            r#""\u12"#.into(),
            "\"".into(),
            "\"\\".into(),
        ] {
            assert_eq!(check(fit.as_bytes()), Ok(()), "{fit:.80}");
        }
        for (unfit, why) in [
            (deep(MAX_DEPTH + 1), Unfit::Depth),
            ("[".repeat(400_000), Unfit::Depth),
            ("{\"a\":".repeat(MAX_DEPTH + 1), Unfit::Depth),
            (long(900_000), Unfit::LongNumber(900_000)),
            (format!("[1, -{}", long(MAX_NUMBER)), Unfit::LongNumber(MAX_NUMBER + 1)),
            ("[1e999]".into(), Unfit::LargeNumber("1e999".into())),
            ("-2E308".into(), Unfit::LargeNumber("-2E308".into())),
            (r#""\ud800""#.into(), Unfit::HalfCharacter(0xD800)),
            (r#""\ud800\u0041""#.into(), Unfit::HalfCharacter(0xD800)),
            (r#""\ud800\n""#.into(), Unfit::HalfCharacter(0xD800)),
            (r#""\uDE00\uD83D""#.into(), Unfit::HalfCharacter(0xDE00)),
        ] {
            assert_eq!(check(unfit.as_bytes()), Err(why), "{unfit:.80}");
        }
    }
}
