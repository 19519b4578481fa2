//! The integration tests: one binary, a file for each concern.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests fail by panicking, and say what they did"
)]

mod access;
mod api_docs;
mod associations_conformance;
mod associations_engine;
mod associations_faults;
mod associations_processes;
mod associations_rebuild;
mod bring_your_data;
mod budget;
mod budget_state;
mod call_lines;
mod catalog_import;
mod cli;
mod conformance;
mod connect;
mod console;
mod contract_answers;
mod contract_associations;
mod contract_events;
mod contract_filters;
mod contract_items;
mod contract_models;
mod deadlines;
mod docs;
mod doctor;
mod drain;
mod embedded;
mod eval;
mod eval_truth;
mod event_import;
mod experiments;
mod export_pages;
mod faults;
mod feed;
mod field;
mod free_calls;
mod grpc_web;
mod house;
mod ingest;
mod limits;
mod list_kinds;
mod meaning;
mod merge;
mod names;
mod operations;
mod overload;
mod properties;
mod proptests;
mod qdrant_catalogue;
mod recommend;
mod redis_behind;
mod redis_engines;
mod redis_outages;
mod redis_races;
mod redis_scripts;
mod redis_state;
mod secrets;
mod support;
mod tls;
mod traces;
mod undecodable;
mod watch;
mod watch_models;
mod webhook;
