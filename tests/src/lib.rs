//! Cross-product end-to-end tests against the real binary.
