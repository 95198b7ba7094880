//! The log from outside: written by the sequencer or its writer, read by readers, judged by the verifier.

#[cfg(test)]
#[path = "audit/crash.rs"]
mod crash;
#[cfg(test)]
#[path = "audit/decoders.rs"]
mod decoders;
#[cfg(test)]
#[path = "audit/reading.rs"]
mod reading;
#[cfg(test)]
#[path = "audit/sequencing.rs"]
mod sequencing;
#[cfg(test)]
#[path = "audit/support.rs"]
mod support;
#[cfg(test)]
#[path = "audit/tampering.rs"]
mod tampering;
