//! Sealed objects on real files.

#[cfg(test)]
mod objects;
