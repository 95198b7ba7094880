//! Pure parts of the log: hashing and proofs, tiles, notes, checkpoints, the growing edge.

pub mod checkpoint;
pub mod edge;
pub mod frontier;
pub mod merkle;
pub mod note;
pub mod tile;
