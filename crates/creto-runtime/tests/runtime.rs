//! Black-box tests against a real runsc.

#[cfg(test)]
mod runtime {
    mod support;

    mod commands;
    mod egress;
    mod lifetime;
    mod ordinary_user;
    mod pool;
    mod service;
}
