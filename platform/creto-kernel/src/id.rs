//! Identifiers: one type for each entity, a UUID version 7 (RFC 9562) behind a prefix that tells a reader what it is.

/// Declares identifier types, each with its text prefix. Text form: `<prefix>_<32 hexadecimal digits>`.
#[macro_export]
macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::id::Uuid);

        impl $name {
            /// The text prefix of this type.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier from the system clock and the system's randomness; edges call it, `core/` does not.
            #[must_use]
            pub fn generate() -> Self {
                Self($crate::id::Uuid::now_v7())
            }

            /// An identifier by its 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self($crate::id::Uuid::from_bytes(bytes))
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, "{}_{}", Self::PREFIX, self.0.simple())
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(self, f)
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::id::IdError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::id::parse(Self::PREFIX, text).map(Self)
            }
        }

        impl $crate::id::serde::Serialize for $name {
            fn serialize<S: $crate::id::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> $crate::id::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::id::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <::std::string::String as $crate::id::serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err($crate::id::serde::de::Error::custom)
            }
        }
    )+};
}

#[doc(hidden)]
pub use serde;
#[doc(hidden)]
pub use uuid::Uuid;

/// The text is not an identifier of the expected type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier of this kind: expected `{prefix}_` and 32 hexadecimal digits")]
pub struct IdError {
    prefix: &'static str,
    text: String,
}

#[doc(hidden)]
pub fn parse(prefix: &'static str, text: &str) -> Result<Uuid, IdError> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .filter(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')))
        .and_then(|digits| Uuid::try_parse(digits).ok())
        .ok_or_else(|| IdError { prefix, text: text.chars().take(80).collect() })
}

typed_ids! {
    /// One audit leaf.
    LeafId = "leaf";
    /// One governed run of a command or workflow.
    RunId = "run";
    /// One approval request or question to a human.
    RequestId = "req";
    /// One reservation of money along a delegation chain.
    HoldId = "hold";
    /// One admitted action: what ties an intent to its outcome.
    AdmissionId = "adm";
    /// One sandbox.
    SandboxId = "sbx";
    /// One end-to-end message in a mailbox.
    MessageId = "msg";
    /// One issued credential.
    CredentialId = "cred";
    /// One delegation link.
    LinkId = "link";
    /// One outbox message.
    OutboxId = "out";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_another_type_are_refused() {
        let run = RunId::generate();
        assert_eq!(run.to_string().parse::<RunId>().unwrap(), run);
        assert!(run.to_string().parse::<HoldId>().is_err());
        for bad in ["", "run_", "run_0", &run.to_string().to_uppercase(), &format!("{run}0")] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
