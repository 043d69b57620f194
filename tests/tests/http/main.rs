//! What the router adds to the service: bytes, headers and status codes.

mod access;
mod anything;
mod app;
mod bodies;
mod callers;
mod cross_origin;
mod document;
mod etags;
mod filters;
mod keys;
mod observed;
mod paths;
mod refusals;
mod single_use;
