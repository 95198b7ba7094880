//! Black-box tests of the authorizer, on both engines where the database matters.

// `cfg(test)` says to clippy what cargo knows: all of this is tests, helpers included.
#[cfg(test)]
mod authz {
    mod decisions;
    mod default_policy;
    mod explain;
    mod props;
    mod publishing;
    mod support;
}
