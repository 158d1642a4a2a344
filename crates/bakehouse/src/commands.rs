//! The verbs, one file each: parse, plan, execute, report.

pub mod affected;
pub mod build;
pub mod cache_mounts;
mod call;
pub mod check;
pub mod demo;
pub mod families;
pub mod graph;
pub mod plan;
pub mod run;
pub mod schema;
pub mod why;

use bakehouse_registry::{Client, ClientConfig, Mirror};
use bakehouse_store::Store;

use crate::context::Context;
use crate::failure::Failure;
use crate::request::Request;

/// The store of this user.
fn open_store(cx: &Context) -> Result<Store, Failure> {
    Ok(Store::open(&cx.home())?)
}

/// A client with the user's credentials and the mirrors of the command line.
fn client(request: &Request, store: &Store, cx: &Context) -> Client {
    client_with(&request.mirrors, store, cx)
}

/// A client with the user's credentials and these mirrors.
pub(crate) fn client_with(mirrors: &[Mirror], store: &Store, cx: &Context) -> Client {
    let folder = match cx.var("DOCKER_CONFIG") {
        Some(folder) => cx.cwd.join(folder),
        None => std::path::Path::new(cx.var("HOME").unwrap_or("/root")).join(".docker"),
    };
    let config = ClientConfig {
        mirrors: mirrors.to_vec(),
        docker_config: Some(folder.join("config.json")),
        ..ClientConfig::default()
    };
    Client::new(config, store.clone())
}

/// Prints a result. A reader that went away is no failure.
fn print(cx: &mut Context, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let written = cx.out.write_all(text.as_bytes()).and_then(|()| cx.out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::doing(crate::failure::Kind::Environment, "print the result", &error))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
fn print_json(cx: &mut Context, value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).expect("results have only string keys");
    text.push('\n');
    print(cx, &text)
}
