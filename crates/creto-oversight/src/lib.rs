//! A human decides, once, on exactly this action.
