//! The matrix of routes, and the properties that hold for whatever arrives.
