//! The ruche binary: GraphQL, command line, composition root.
