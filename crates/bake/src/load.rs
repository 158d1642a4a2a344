//! From files to targets: what is defined, in which order it is evaluated.
//!
//! Variables, functions and attributes of targets may refer to each other in any order. So each
//! is evaluated when it is first asked for, once, and one that is asked for while it is being
//! evaluated is a cycle. What fails is a problem of its own and of what refers to it; everything
//! else goes on.

mod blocks;
mod variables;

pub(crate) use blocks::distinct;

use std::collections::BTreeMap;

use bakehouse_model::Location;

use crate::Surroundings;
use crate::eval::{Machine, Scope, unknown_function};
use crate::source::{Outcome, Places, Problem, Span};
use crate::syntax::{Attribute, Block, Body, Expr, Reference};
use crate::target::Target;
use blocks::Definition;

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What people are told about it, or nothing.
    pub description: String,
    /// The targets and groups in it.
    pub targets: Vec<String>,
    /// Where it is defined.
    pub location: Option<Location>,
}

/// What all files together define.
#[derive(Debug, Default)]
pub(crate) struct Config {
    pub(crate) groups: Vec<Group>,
    pub(crate) targets: Vec<Target>,
    /// Targets that cannot be evaluated.
    pub(crate) failed: Vec<String>,
}

/// How far something has come.
enum State {
    Running,
    Failed(Box<Problem>),
}

pub(crate) struct Loader<'a> {
    machine: Machine<'a>,
    places: &'a Places,
    variables: BTreeMap<&'a str, &'a Block>,
    attributes: BTreeMap<&'a str, &'a Attribute>,
    functions: BTreeMap<&'a str, &'a Block>,
    variable_states: BTreeMap<&'a str, State>,
    function_states: BTreeMap<&'a str, State>,
    definitions: Vec<Definition<'a>>,
    /// Blocks by kind and name, once all names are known.
    named: Option<BTreeMap<(&'static str, String), Vec<usize>>>,
    problems: Vec<Problem>,
}

/// Evaluates everything that `bodies` define, in this order.
pub(crate) fn load<'a>(
    bodies: &'a [Body],
    around: &'a Surroundings<'a>,
    places: &'a Places,
) -> (Config, Vec<Problem>) {
    let mut loader = Loader {
        machine: Machine::new(around),
        places,
        variables: BTreeMap::new(),
        attributes: BTreeMap::new(),
        functions: BTreeMap::new(),
        variable_states: BTreeMap::new(),
        function_states: BTreeMap::new(),
        definitions: Vec::new(),
        named: None,
        problems: Vec::new(),
    };
    loader.index(bodies);
    loader.evaluate_variables();
    loader.evaluate_functions();
    let config = loader.evaluate_blocks();
    loader.evaluate_attributes();
    (config, loader.problems)
}

impl<'a> Loader<'a> {
    fn index(&mut self, bodies: &'a [Body]) {
        for body in bodies {
            for (name, attribute) in &body.attributes {
                if !self.is_reserved(name) && &**name != "function" {
                    self.attributes.insert(name, attribute);
                }
            }
            for block in &body.blocks {
                self.index_block(block);
            }
        }
    }

    fn index_block(&mut self, block: &'a Block) {
        let kind = match &*block.kind {
            "variable" | "function" => None,
            "target" => Some("target"),
            "group" => Some("group"),
            _ => return,
        };
        let [(label, span)] = &block.labels[..] else {
            let message = format!("a `{}` has one name, not {}", block.kind, block.labels.len());
            let problem = Problem::new("wrong-labels", block.span, message);
            self.problems.push(*problem.help(format!("write `{} \"name\" {{ … }}`", block.kind)));
            return;
        };
        match kind {
            Some(kind) => self.definitions.push(Definition::new(kind, block, label, *span)),
            None if self.is_reserved(label) => {}
            None if &*block.kind == "variable" => self.variables.extend([(&**label, block)]),
            None => self.functions.extend([(&**label, block)]),
        }
    }

    fn builtin(&self, name: &str) -> Option<&'a str> {
        match name {
            "BAKE_CMD_CONTEXT" => Some(self.machine.around.cmd_context),
            "BAKE_LOCAL_PLATFORM" => Some(self.machine.around.local_platform),
            _ => None,
        }
    }

    fn is_reserved(&self, name: &str) -> bool {
        name == "target" || name == "group" || self.builtin(name).is_some()
    }

    fn report<T>(&mut self, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(problem) => {
                if !self.problems.contains(&problem) {
                    self.problems.push(*problem);
                }
                None
            }
        }
    }

    /// Evaluates everything that an expression refers to. What is not there at all is left for
    /// the evaluation to find, which may not come to it, unless `strict`.
    fn load(
        &mut self,
        expr: &'a Expr,
        scope: &Scope<'_>,
        own: &[&str],
        strict: bool,
    ) -> Outcome<()> {
        let mut references = Vec::new();
        expr.references(&mut |reference| references.push(reference));
        self.machine.spend(references.len(), expr.span)?;
        for reference in references {
            let found = match &reference {
                Reference::Function(name) => self.resolve_function(name, expr.span)?,
                Reference::Variable(name, _) | Reference::Indexed(name)
                    if own.contains(name) || scope.get(name).is_some() =>
                {
                    true
                }
                Reference::Variable(name, path) if self.is_block(name) => {
                    self.resolve_reference(name, path, expr.span)?;
                    true
                }
                Reference::Indexed(name) if self.is_block(name) => {
                    let message = format!("`{name}` cannot be indexed");
                    return Err(Problem::new("invalid-reference", expr.span, message)
                        .help(format!("write `{name}.NAME`")));
                }
                Reference::Variable(name, _) | Reference::Indexed(name) => {
                    self.resolve_variable(name, expr.span)?
                }
            };
            if strict && !found {
                return Err(missing(&reference, expr.span));
            }
        }
        Ok(())
    }

    fn is_block(&self, name: &str) -> bool {
        self.named.is_some() && (name == "target" || name == "group")
    }
}

fn missing(reference: &Reference<'_>, span: Span) -> Box<Problem> {
    match reference {
        Reference::Function(name) => unknown_function(name, span),
        Reference::Variable(name, _) | Reference::Indexed(name) => {
            Problem::new("unknown-variable", span, format!("there is no variable `{name}`"))
                .help(format!("define it: `variable \"{name}\" {{ default = \"\" }}`"))
        }
    }
}

fn cycle(what: &str, name: &str, span: Span) -> Box<Problem> {
    Problem::new("cycle", span, format!("the {what} `{name}` refers to itself"))
        .help("break the cycle: give one of its members a value that refers to none")
}
