//! Commands in gVisor, with every connection an admitted action.
//!
//! A [`container::ContainerRuntime`] starts a [`Sandbox`] over a curated root ([`core::bundle`]); a resident agent (`agent/`, a static
//! program built with this crate) is its process 1 and carries commands over pipes ([`link`]). A sandbox has no network: its only way
//! out is a Unix socket, behind which the [`egress`] gateway asks for every connection before it is made. A [`pool`] keeps some
//! sandboxes warm; identity is bound when one is claimed, never before.
//!
//! INVARIANT: nothing inside a sandbox is believed about who it is: the socket a request comes from says it.

pub mod container;
pub mod core;
pub mod doctor;
pub mod egress;
pub mod error;
pub mod link;
pub mod pool;
pub mod service;
#[doc(hidden)]
pub mod wire;

pub use container::{ContainerRuntime, Sandbox, SandboxPlan};
pub use error::RuntimeError;
pub use service::{Input, RunEnd, RunError, RunEvent, RunHandle, RunReport, RunSpec, Runtime, RuntimeOptions};
