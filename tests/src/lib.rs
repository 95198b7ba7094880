//! Cross-product end-to-end tests against the real binary. The tests are in `e2e/`; this library is empty, because cargo wants one.
