//! Master seed and tree head files: the only place where key material is read or written.
