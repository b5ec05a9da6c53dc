//! One command a file: `Args` is what it takes, `run` is what it does.

pub mod audit;
pub mod bench;
pub mod check;
pub mod client;
pub mod ctl;
pub mod detect;
pub mod drill;
pub mod firewall_agent;
pub mod init;
pub mod passwd;
pub mod publish;
pub mod respond;
pub mod rotate_key;
pub mod sbom;
pub mod serve;
pub mod subscribe;
