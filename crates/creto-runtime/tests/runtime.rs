//! Black-box tests against a real runsc.

mod runtime {
    pub mod support;

    mod commands;
    mod egress;
    mod lifetime;
    mod ordinary_user;
    mod pool;
}
