//! Thalweg SQL: turns SQL text into a job graph.

pub mod functions;
