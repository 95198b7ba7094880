//! Sealed objects: one key an object, owner and class bound as associated data.
