//! Does the reading keep its word?
//! Given texts, variables and flags, claims what comes of them.
//! Never reads the real environment.
