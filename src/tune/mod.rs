//! What timeouts to set, what they would have done to recorded flows, and when to switch between them.
