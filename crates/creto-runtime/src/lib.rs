//! Commands in gVisor, with every connection an admitted action.
