//! The body to the letter.
