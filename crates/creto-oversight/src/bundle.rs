//! Evidence bundles: many decisions in one file, with everything an outsider needs to check them and that none is missing.
//!
//! JSON lines, each in RFC 8785 form ([ADR-027](../../../docs/decisions/ADR-027-evidence-in-lines.md)): the seal, the header, the log's
//! keys, then every entry of the log between two positions, each followed by the policy documents and receipts that belong to it, and
//! last the manifest. Three things hold it together:
//!
//! - The entries are the log's, all of them, in order: their hashes and those in the seal lead to the signed root.
//! - What the log commits to, the receipts open: a decision in an entry is there, or the manifest says that its words were erased and
//!   names the entry that says so too. So whoever leaves a decision out has to leave out its entry, and the root is another.
//! - The export itself is an entry of the log, which commits to every other line: what, for whom and from when to when it was asked.
//!
//! INVARIANT: each byte of a bundle is either under a signature of the trusted keys, by way of the log, or is such a signature or proof.

mod line;
mod verify;

pub use line::{DECISIONS_MAX, ENTRIES_MAX, ERASE, EXPORT, LINE_BYTES_MAX, Mention, mentions};
pub use line::{Document, Erased, Header, Item, Line, Manifest, Proof, Running, Scope, Seal, Standing};
pub use verify::{Proven, Short, Tally, Total, Verifier, policy_digest};
