//! CBOR (RFC 8949) as far as authenticators write it: definite lengths, no tags, no floats, shallow.
//!
//! What cannot be read is refused; nothing is guessed, and no input makes this recurse or allocate beyond its own size.

/// Deepest nesting; CTAP 2 allows four levels.
const DEPTH_MAX: usize = 4;
/// Most members of one array or map.
const MEMBERS_MAX: u64 = 64;

/// A value of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cbor<'a> {
    /// An integer.
    Int(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A text string.
    Text(&'a str),
    /// An array.
    Array(Vec<Self>),
    /// A map, in the input's order; keys are integers or texts.
    Map(Vec<(Self, Self)>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

impl<'a> Cbor<'a> {
    /// The value of an integer key of a map.
    #[must_use]
    pub fn at(&self, key: i64) -> Option<&Self> {
        self.find(&Cbor::Int(key))
    }

    /// The value of a text key of a map.
    #[must_use]
    pub fn named(&self, key: &str) -> Option<&Self> {
        self.find(&Cbor::Text(key))
    }

    fn find(&self, key: &Cbor<'_>) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(found, _)| found == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The bytes of a byte string.
    #[must_use]
    pub const fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An integer.
    #[must_use]
    pub const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }
}

/// Reads one value off the front and gives the rest.
#[must_use]
pub fn read(input: &[u8]) -> Option<(Cbor<'_>, &[u8])> {
    value(input, 0)
}

fn value(input: &[u8], depth: usize) -> Option<(Cbor<'_>, &[u8])> {
    let (major, argument, rest) = head(input)?;
    match major {
        0 => Some((Cbor::Int(i64::try_from(argument).ok()?), rest)),
        1 => Some((Cbor::Int((-1_i64).checked_sub(i64::try_from(argument).ok()?)?), rest)),
        2 => {
            let (bytes, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            Some((Cbor::Bytes(bytes), rest))
        }
        3 => {
            let (bytes, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            Some((Cbor::Text(std::str::from_utf8(bytes).ok()?), rest))
        }
        4 if depth < DEPTH_MAX && argument <= MEMBERS_MAX => array(rest, argument, depth),
        5 if depth < DEPTH_MAX && argument <= MEMBERS_MAX => map(rest, argument, depth),
        7 => match argument {
            20 => Some((Cbor::Bool(false), rest)),
            21 => Some((Cbor::Bool(true), rest)),
            22 => Some((Cbor::Null, rest)),
            _ => None,
        },
        _ => None,
    }
}

fn array(mut rest: &[u8], members: u64, depth: usize) -> Option<(Cbor<'_>, &[u8])> {
    let mut items = Vec::new();
    for _ in 0..members {
        let (item, after) = value(rest, depth + 1)?;
        items.push(item);
        rest = after;
    }
    Some((Cbor::Array(items), rest))
}

fn map(mut rest: &[u8], members: u64, depth: usize) -> Option<(Cbor<'_>, &[u8])> {
    let mut items: Vec<(Cbor<'_>, Cbor<'_>)> = Vec::new();
    for _ in 0..members {
        let (key, after) = value(rest, depth + 1)?;
        let (item, after) = value(after, depth + 1)?;
        // Two readers could take one of two equal keys each.
        if !matches!(key, Cbor::Int(_) | Cbor::Text(_)) || items.iter().any(|(found, _)| *found == key) {
            return None;
        }
        items.push((key, item));
        rest = after;
    }
    Some((Cbor::Map(items), rest))
}

/// Major type and argument (RFC 8949, section 3). Indefinite lengths and reserved forms are refused, and so is a simple value or a
/// float in more than one byte.
fn head(input: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = input.split_first()?;
    let (major, short) = (first >> 5, first & 0x1f);
    let width = match short {
        0..=23 => return Some((major, u64::from(short), rest)),
        24..=27 if major != 7 => 1_usize << (short - 24),
        _ => return None,
    };
    let (bytes, rest) = rest.split_at_checked(width)?;
    Some((major, bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_standard_read_as_they_say() {
        // RFC 8949, appendix A.
        for (hex_digits, expected) in [
            ("00", Cbor::Int(0)),
            ("1903e8", Cbor::Int(1000)),
            ("20", Cbor::Int(-1)),
            ("3903e7", Cbor::Int(-1000)),
            ("f5", Cbor::Bool(true)),
            ("f6", Cbor::Null),
            ("4401020304", Cbor::Bytes(&[1, 2, 3, 4])),
            ("6449455446", Cbor::Text("IETF")),
            ("8201820203", Cbor::Array(vec![Cbor::Int(1), Cbor::Array(vec![Cbor::Int(2), Cbor::Int(3)])])),
            ("a201020304", Cbor::Map(vec![(Cbor::Int(1), Cbor::Int(2)), (Cbor::Int(3), Cbor::Int(4))])),
        ] {
            let bytes = hex::decode(hex_digits).unwrap();
            assert_eq!(read(&bytes), Some((expected, &[][..])), "{hex_digits}");
        }
    }

    #[test]
    fn what_readers_could_disagree_about_is_refused() {
        for (hex_digits, what) in [
            ("", "nothing"),
            ("18", "a cut head"),
            ("5f42010243030405ff", "an indefinite length"),
            ("c11a514b67b0", "a tag"),
            ("fb3ff199999999999a", "a float"),
            ("1bffffffffffffffff", "beyond 63 bits"),
            ("3bffffffffffffffff", "below 63 bits"),
            ("a2010201ff", "cut"),
            ("a201020103", "one key twice"),
            ("a1820102f5", "an array as key"),
            ("5affffffff00", "a length beyond the input"),
            ("62c328", "not UTF-8"),
            ("9affffffff", "more members than anything has"),
            ("8181818181f6", "too deep"),
        ] {
            let bytes = hex::decode(hex_digits).unwrap();
            assert_eq!(read(&bytes), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some((_, rest)) = read(&bytes) {
                prop_assert!(rest.len() < bytes.len());
            }
        }
    }
}
