//! The pipeline as a user has it: four binaries, pipes and files.

mod bad_input;
mod cache;
mod changes;
mod concurrent;
mod crash;
mod disk;
mod documents;
mod encoders;
mod endpoint;
mod hub;
mod indexes;
mod interop;
mod llm;
mod manifest;
mod mcp;
mod pipe_matrix;
mod pipeline;
mod query;
mod rerank;
mod robust;
mod scope;
mod store_tools;
mod structure;
mod vectors;
mod writers;
