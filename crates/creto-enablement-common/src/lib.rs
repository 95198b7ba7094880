//! The Gate every action passes, and the ports it needs.
