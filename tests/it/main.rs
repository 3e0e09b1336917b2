//! Whole-system tests: one binary, modules in reading order.

mod repository;
mod markdown;

mod architecture;
mod tidy;
mod documents;
mod command_line;
mod power_cut;
mod load;
mod crew;
mod crowded;
mod kill;
mod nodes;
mod io_fault;
mod full_disk;
mod postgres;
mod import;
mod verification;
mod tenants;
mod http;
mod publishing;
mod metrics;
mod graphql;
mod lanes;
mod read_models;
mod approvals;
mod live;
mod steps;
mod refusals;
mod scenarios;
mod replay;
mod websocket;
mod bench;
mod restore;
mod parked;
