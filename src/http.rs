//! What do the fields of HTTP mean?
//! Given a header's name or value, hands back what its grammar says: each is read in one place, whoever asks.
//! Never decides what is done about it.

pub mod hop_by_hop;

pub mod q_list;
