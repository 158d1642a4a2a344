//! `bakehouse schema`: what `bakehouse.toml` may say, as a JSON schema.

use bakehouse_model::ExitCode;

use crate::config;
use crate::context::Context;
use crate::failure::Failure;

/// Runs the command.
pub fn run(cx: &mut Context) -> Result<ExitCode, Failure> {
    super::print_json(cx, config::schema().as_value())?;
    Ok(ExitCode::Ok)
}
