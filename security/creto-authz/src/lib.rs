//! Cedar with three outcomes, policy slicing and a decision cache.
