//! Who gets a token, and who loses one?
//! Given requests for `/oauth/*`, `/.well-known/*` and `/-/me`, issues, exchanges, explains and takes back tokens.
//! Never keeps a token or a secret; what it answers about revocations is on disk by then.

pub mod ledger;
