//! Intentions: decide what may be appended. Pure deciders and the command pipeline.
