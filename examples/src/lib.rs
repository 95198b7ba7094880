//! What the example programs share. The programs are in `examples/examples` (Rust) and `examples/agents` (Python).

pub mod verify_log;
