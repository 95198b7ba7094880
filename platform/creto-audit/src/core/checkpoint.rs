//! Checkpoints (C2SP tlog-checkpoint): which log, how many entries, which root; and the message an ML-DSA-44 cosignature signs
//! (C2SP tlog-cosignature).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creto_kernel::{Digest, TenantId};

/// The name of one tenant's log: `<prefix>/<tenant>`. It is the checkpoint's origin line and the key name of its signatures.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(String);

/// The text cannot begin a log's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot begin a log's name: use up to 128 of a-z, 0-9, `.`, `-`, `_` and `/`, such as `creto.local/log`")]
pub struct OriginError(String);

/// What every tenant's log name begins with: a scheme-less URL prefix such as `creto.local/log`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OriginPrefix(String);

/// Longest prefix, in bytes: with a tenant's 63 it fits the one length byte of a cosigned message.
const PREFIX_BYTES_MAX: usize = 128;

impl OriginPrefix {
    /// The prefix used where none is configured.
    #[must_use]
    pub fn local() -> Self {
        Self("creto.local/log".to_owned())
    }

    /// Reads a prefix.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'/' | b':');
        if !text.is_empty() && text.len() <= PREFIX_BYTES_MAX && text.bytes().all(fits) && !text.ends_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError(text.chars().take(80).collect()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a tenant's log.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Origin {
        Origin(format!("{}/{tenant}", self.0))
    }
}

impl Origin {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose log it names; `None` where its last element is no tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        self.0.rsplit('/').next()?.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A log's state: what a signature vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How many entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
}

/// The text is not a checkpoint of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub struct CheckpointError(&'static str);

impl Checkpoint {
    /// The note text: three lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.as_bytes()))
    }

    /// Reads the note text. Extension lines are refused: our logs write none, and ML-DSA-44 cosignatures do not cover them.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root), Some(""), None) = (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError("expected three lines: origin, size and root"));
        };
        let number: u64 = size.parse().map_err(|_| CheckpointError("the size is not a decimal number"))?;
        let root = STANDARD.decode(root).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let root = root.ok_or(CheckpointError("the root is not the base64 of 32 bytes"))?;
        let checkpoint = Self { origin: Origin(origin.to_owned()), size: number, root: Digest::from_bytes(root) };
        if origin.is_empty() || checkpoint.text() != text {
            return Err(CheckpointError("it is not in canonical form"));
        }
        Ok(checkpoint)
    }

    /// The message an ML-DSA-44 cosignature by `name` at `time_s` signs (seconds since the Unix epoch): `cosigned_message` with
    /// start 0. `None` where a name is longer than its length byte can say.
    #[must_use]
    pub fn cosigned_message(&self, name: &str, time_s: u64) -> Option<Vec<u8>> {
        let mut message = b"subtree/v1\n\0".to_vec();
        message.push(u8::try_from(name.len()).ok()?);
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&time_s.to_be_bytes());
        message.push(u8::try_from(self.origin.0.len()).ok()?);
        message.extend_from_slice(self.origin.0.as_bytes());
        message.extend_from_slice(&0u64.to_be_bytes());
        message.extend_from_slice(&self.size.to_be_bytes());
        message.extend_from_slice(self.root.as_bytes());
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_example_reads_and_prints_back() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!((checkpoint.size, checkpoint.text().as_str()), (20_852_163, text));
        for bad in [
            "",
            "a\n1\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        ] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_cosigned_message_has_the_specified_layout() {
        let origin = OriginPrefix::local().of(&"t".parse().unwrap());
        let checkpoint = Checkpoint { origin, size: 5, root: Digest::from_bytes([9; 32]) };
        let expected = [
            b"subtree/v1\n\0".as_slice(),
            b"\x05other",
            &[0, 0, 0, 0, 0, 0, 0, 7],
            b"\x11creto.local/log/t",
            &[0; 8],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[9; 32],
        ]
        .concat();
        assert_eq!(checkpoint.cosigned_message("other", 7).unwrap(), expected);
        assert_eq!(checkpoint.cosigned_message(&"n".repeat(256), 7), None);
    }

    #[test]
    fn prefixes_stay_short_and_plain() {
        assert_eq!(OriginPrefix::parse("creto.local/log").unwrap(), OriginPrefix::local());
        for bad in ["", "a b", "a+b", "a/", "A", "a\n", &"a".repeat(129)] {
            assert!(OriginPrefix::parse(bad).is_err(), "{bad:?}");
        }
    }
}
