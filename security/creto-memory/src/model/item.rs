//! Items and their history.

use creto_kernel::id::LeafId;
use creto_kernel::{Digest, NhiId, Timestamp};
use serde::Serialize;

use crate::model::untrusted::Untrusted;

creto_kernel::typed_ids! {
    /// One remembered item.
    MemoryId = "mem";
}
creto_db::value_from_text!(MemoryId);

/// Longest text of one item, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Longest source, in bytes.
pub const SOURCE_BYTES_MAX: usize = 128;

/// What is to be remembered.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// Where it comes from, a word or name such as `observation`, `plan` or `tool:search`. 1 to 128 bytes without spaces.
    pub source: String,
    /// What it says. 1 byte to 64 KiB, without NUL.
    pub text: Untrusted,
    /// From when it holds; the time of recording when absent.
    pub valid_from: Option<Timestamp>,
    /// Until when it holds, exclusive; without end when absent.
    pub valid_to: Option<Timestamp>,
    /// The action it is a reason of, by the action's digest.
    pub action: Option<Digest>,
    /// The item it corrects, which stops being valid when this one starts.
    pub supersedes: Option<MemoryId>,
}

impl NewItem {
    /// An item that holds from now on, and is nobody's reason and nobody's correction.
    #[must_use]
    pub fn new(source: impl Into<String>, text: impl Into<String>) -> Self {
        let (source, text) = (source.into(), Untrusted::new(text.into()));
        Self { source, text, valid_from: None, valid_to: None, action: None, supersedes: None }
    }
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Its identifier.
    pub id: MemoryId,
    /// Who recorded it.
    pub author: NhiId,
    /// Where it comes from.
    pub source: Untrusted,
    /// What it says; absent once forgotten.
    pub text: Option<Untrusted>,
    /// From when it holds.
    pub valid_from: Timestamp,
    /// Until when it holds, exclusive.
    pub valid_to: Option<Timestamp>,
    /// The action it is a reason of.
    pub action: Option<Digest>,
    /// The item it corrects.
    pub supersedes: Option<MemoryId>,
    /// When it was recorded, by the server's clock.
    pub recorded_at: Timestamp,
    /// The audit leaf that proves it was recorded.
    pub leaf: LeafId,
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was recorded.
    Put,
    /// It stopped being valid, by correction or by itself.
    Invalidated,
    /// Its text was erased.
    Forgotten,
}

impl ChangeKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Invalidated => "invalidated",
            Self::Forgotten => "forgotten",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Put, Self::Invalidated, Self::Forgotten].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One change of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Who did it.
    pub by: NhiId,
    /// When.
    pub at: Timestamp,
    /// The audit leaf that proves it.
    pub leaf: LeafId,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Words that must all occur; at most 16 are read.
    pub text: String,
    /// Only what this identity recorded.
    pub author: Option<NhiId>,
    /// What held at this moment; now when absent.
    pub at: Option<Timestamp>,
    /// Most items, at most 100.
    pub limit: u32,
}
