//! Targets and groups.
//!
//! A block with a `matrix` has an instance for each combination. Attributes are evaluated one by
//! one, because they may refer to other attributes of the same target.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bakehouse_model::Location;

use crate::eval::Scope;
use crate::source::{Outcome, Problem, Span};
use crate::syntax::{Block, Expr};
use crate::target::{FIELDS, Target, strings};
use crate::value::Value;

use super::{Config, Group, Loader, cycle};

const GROUP_FIELDS: &[&str] = &["description", "targets"];

/// How many targets one matrix may make.
const MAX_MATRIX: usize = 10_000;

type Names = Vec<(Rc<str>, Value)>;

/// A block, and what becomes of it.
pub(super) struct Definition<'a> {
    kind: &'static str,
    block: &'a Block,
    label: &'a str,
    span: Span,
    instances: Vec<Instance>,
}

/// One target or group that a block defines.
struct Instance {
    names: Names,
    content: Content,
    done: BTreeSet<&'static str>,
    running: BTreeSet<&'static str>,
    failed: bool,
    /// How many attributes were known when expressions were last told of it.
    shown: usize,
}

enum Content {
    Target(Box<Target>),
    Group(Group),
}

impl<'a> Definition<'a> {
    pub(super) fn new(kind: &'static str, block: &'a Block, label: &'a str, span: Span) -> Self {
        Self { kind, block, label, span, instances: Vec::new() }
    }

    fn fields(&self) -> &'static [&'static str] {
        if self.kind == "target" { FIELDS } else { GROUP_FIELDS }
    }
}

impl Content {
    fn name(&self) -> &str {
        match self {
            Self::Target(target) => &target.name,
            Self::Group(group) => &group.name,
        }
    }

    fn set(&mut self, field: &'static str, value: &Value, place: Location) -> Result<(), String> {
        match self {
            Self::Target(target) => {
                target.places.insert(field, place);
                target.set(field, value)
            }
            Self::Group(group) if field == "targets" => {
                group.targets = strings(value)?.unwrap_or_default();
                Ok(())
            }
            Self::Group(group) => {
                group.description = crate::convert::text(value)?.to_string();
                Ok(())
            }
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Target(target) => target.to_value(),
            Self::Group(group) => Value::object(BTreeMap::from([
                ("name".into(), Value::string(&group.name)),
                ("description".into(), Value::string(&group.description)),
                ("targets".into(), Value::strings(&group.targets)),
            ])),
        }
    }
}

impl<'a> Loader<'a> {
    pub(super) fn evaluate_blocks(&mut self) -> Config {
        let mut config = Config::default();
        let mut named: BTreeMap<(&'static str, String), Vec<usize>> = BTreeMap::new();
        let mut renamed: BTreeMap<&'a str, Vec<String>> = BTreeMap::new();
        for at in 0..self.definitions.len() {
            let outcome = self.instantiate(at);
            let definition = &self.definitions[at];
            let (kind, label) = (definition.kind, definition.label);
            if self.report(outcome).is_none() {
                config.failed.push(label.to_owned());
            }
            for instance in &self.definitions[at].instances {
                let name = instance.content.name().to_owned();
                named.entry((kind, name.clone())).or_default().push(at);
                if kind == "target" {
                    renamed.entry(label).or_default().push(name);
                }
            }
        }
        self.named = Some(named);
        for at in 0..self.definitions.len() {
            for instance in 0..self.definitions[at].instances.len() {
                for field in self.definitions[at].fields() {
                    let outcome = self.resolve_field(at, instance, field);
                    self.report(outcome);
                }
            }
        }
        self.collect(&mut config);
        add_matrix_groups(&mut config, renamed);
        config
    }

    /// Finds out which targets a block defines, and their names.
    fn instantiate(&mut self, at: usize) -> Outcome<()> {
        let (kind, block) = (self.definitions[at].kind, self.definitions[at].block);
        let (label, span) = (self.definitions[at].label, self.definitions[at].span);
        valid_name(label, span)?;
        let own = |name: &str| block.body.attributes.get(name);
        if kind == "group"
            && let Some(attribute) = own("matrix").or_else(|| own("name"))
        {
            return Err(Problem::new(
                "invalid-group",
                attribute.name,
                format!("the group `{label}` has a matrix"),
            )
            .help("only targets have `matrix` and `name`"));
        }
        let combinations = match own("matrix") {
            Some(matrix) => self.matrix(&matrix.expr)?,
            None => vec![Names::new()],
        };
        if let (Some(name), None) = (own("name"), own("matrix")) {
            return Err(Problem::new(
                "name-without-matrix",
                name.name,
                format!("`{label}` has a `name` but no `matrix`"),
            )
            .help("remove `name`, or add a `matrix`"));
        }
        let mut seen = BTreeSet::new();
        for names in combinations {
            let name = match own("name") {
                Some(attribute) => self.name(&attribute.expr, &names)?,
                None => label.to_owned(),
            };
            if !seen.insert(name.clone()) {
                self.definitions[at].instances.clear();
                return Err(Problem::new(
                    "duplicate-name",
                    span,
                    format!("the matrix of `{label}` makes two targets `{name}`"),
                )
                .help("use all variables of the matrix in `name`"));
            }
            let instance = self.instance(at, name, names);
            self.definitions[at].instances.push(instance);
        }
        Ok(())
    }

    fn instance(&self, at: usize, name: String, names: Names) -> Instance {
        let location = Some(self.places.location(self.definitions[at].block.span));
        let content = if self.definitions[at].kind == "target" {
            Content::Target(Box::new(Target { name, block: location, ..Target::default() }))
        } else {
            Content::Group(Group { name, location, ..Group::default() })
        };
        let (done, running) = (BTreeSet::new(), BTreeSet::new());
        Instance { names, content, done, running, failed: false, shown: 0 }
    }

    fn name(&mut self, expr: &'a Expr, names: &Names) -> Outcome<String> {
        let scope = Scope { names: names.clone(), outer: None };
        self.load(expr, &scope, &[], false)?;
        let value = self.machine.value(expr, &scope)?;
        let name = crate::convert::text(&value).map_err(|why| {
            Problem::new("invalid-name", expr.span, format!("not a name: {why}"))
                .help("make `name` a string")
        })?;
        valid_name(&name, expr.span)?;
        Ok(name.to_string())
    }

    /// All combinations of the values of a matrix; of its axes, the last one changes slowest.
    fn matrix(&mut self, expr: &'a Expr) -> Outcome<Vec<Names>> {
        let scope = Scope::default();
        self.load(expr, &scope, &[], false)?;
        let value = self.machine.value(expr, &scope)?;
        let refused = |message: String| {
            Problem::new("invalid-matrix", expr.span, message)
                .help("write `matrix = { name = [value, …] }`")
        };
        let Some(axes) = value.entries() else {
            return Err(refused("a `matrix` is a map of lists".to_owned()));
        };
        let mut combinations = vec![Names::new()];
        for (name, values) in axes {
            let Some(pairs) = values.pairs() else {
                return Err(refused(format!("`{name}` of this matrix is not a list")));
            };
            if combinations.len().saturating_mul(pairs.len()) > MAX_MATRIX {
                return Err(refused(format!("this matrix makes more than {MAX_MATRIX} targets")));
            }
            let mut longer = Vec::new();
            for (_, value) in pairs {
                for names in &combinations {
                    longer.push([names.as_slice(), &[(name.clone(), value.clone())]].concat());
                }
            }
            combinations = longer;
        }
        Ok(combinations)
    }

    /// Evaluates what `target.name.attribute` refers to, and shows it to expressions.
    pub(super) fn resolve_reference(
        &mut self,
        kind: &str,
        path: &[&'a str],
        span: Span,
    ) -> Outcome<()> {
        let kind = if kind == "target" { "target" } else { "group" };
        let Some(name) = path.first() else {
            return Err(Problem::new(
                "invalid-reference",
                span,
                format!("`{kind}` is not a variable"),
            )
            .help(format!("write `{kind}.NAME`")));
        };
        let key = (kind, (*name).to_owned());
        let found = self.named.as_ref().and_then(|named| named.get(&key)).cloned();
        self.machine.blocks.entry(kind).or_default();
        self.machine.enter(span)?;
        let mut blocks = found.unwrap_or_default().into_iter();
        let outcome = blocks.try_for_each(|at| self.resolve_block(at, path.get(1).copied()));
        self.machine.leave();
        outcome
    }

    /// Evaluates one attribute of a block, or all.
    fn resolve_block(&mut self, at: usize, only: Option<&str>) -> Outcome<()> {
        for instance in 0..self.definitions[at].instances.len() {
            let fields = self.definitions[at].fields().iter();
            for field in fields.filter(|field| only.is_none_or(|only| only == **field)) {
                self.resolve_field(at, instance, field)?;
            }
            self.show(at, instance);
        }
        Ok(())
    }

    fn show(&mut self, at: usize, instance: usize) {
        let kind = self.definitions[at].kind;
        let instance = &mut self.definitions[at].instances[instance];
        let known = self.machine.blocks.entry(kind).or_default();
        let stale = instance.shown != instance.done.len();
        if stale || !known.contains_key(instance.content.name()) {
            instance.shown = instance.done.len();
            known.insert(instance.content.name().into(), instance.content.to_value());
        }
    }

    fn resolve_field(&mut self, at: usize, instance: usize, field: &'static str) -> Outcome<()> {
        let block = self.definitions[at].block;
        let state = &mut self.definitions[at].instances[instance];
        if state.done.contains(field) {
            return Ok(());
        }
        let Some(attribute) = block.body.attributes.get(field) else {
            state.done.insert(field);
            if field == "targets" {
                state.failed = true;
                return Err(Problem::new(
                    "missing-attribute",
                    block.span,
                    format!("the group `{}` has no `targets`", state.content.name()),
                )
                .help("add `targets = […]`"));
            }
            return Ok(());
        };
        if !state.running.insert(field) {
            let name = format!("{}.{}.{field}", block.kind, state.content.name());
            return Err(cycle("attribute", &name, attribute.expr.span));
        }
        let names = state.names.clone();
        let outcome = self.field(&attribute.expr, names);
        let place = self.places.location(attribute.name.to(attribute.expr.span));
        let state = &mut self.definitions[at].instances[instance];
        state.running.remove(field);
        let outcome = outcome.and_then(|value| {
            state.done.insert(field);
            state.content.set(field, &value, place).map_err(|why| {
                let message = format!("`{field}` of `{}`: {why}", state.content.name());
                Problem::new("wrong-value", attribute.expr.span, message)
                    .help("see https://docs.docker.com/build/bake/reference/ for what it may be")
            })
        });
        state.failed |= outcome.is_err();
        outcome
    }

    fn field(&mut self, expr: &'a Expr, names: Names) -> Outcome<Value> {
        let scope = Scope { names, outer: None };
        self.load(expr, &scope, &[], false)?;
        self.machine.value(expr, &scope)
    }

    /// Puts together what several blocks say of the same target; of a group, the last says it.
    fn collect(&mut self, config: &mut Config) {
        let mut targets: BTreeMap<String, usize> = BTreeMap::new();
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for definition in std::mem::take(&mut self.definitions) {
            for instance in definition.instances {
                if instance.failed {
                    config.failed.push(instance.content.name().to_owned());
                    continue;
                }
                match instance.content {
                    Content::Target(target) => match targets.get(&target.name) {
                        Some(at) => config.targets[*at].merge(&target),
                        None => {
                            targets.insert(target.name.clone(), config.targets.len());
                            config.targets.push(*target);
                        }
                    },
                    Content::Group(group) => match groups.get(&group.name) {
                        Some(at) => config.groups[*at] = group,
                        None => {
                            groups.insert(group.name.clone(), config.groups.len());
                            config.groups.push(group);
                        }
                    },
                }
            }
        }
        let failed: BTreeSet<&String> = config.failed.iter().collect();
        config.targets.retain(|target| !failed.contains(&target.name));
    }
}

/// A block whose matrix makes several targets leaves its own name to a group of them.
fn add_matrix_groups(config: &mut Config, renamed: BTreeMap<&str, Vec<String>>) {
    for (label, names) in renamed {
        let names = distinct(names);
        if names.len() == 1 && names[0] == label {
            continue;
        }
        let first = config.targets.iter().find(|target| target.name == names[0]);
        let location = first.and_then(|target| target.block.clone());
        let group = Group { name: label.to_owned(), targets: names, location, ..Group::default() };
        config.groups.push(group);
    }
    for group in &mut config.groups {
        group.targets = distinct(std::mem::take(&mut group.targets));
    }
}

/// Leaves out repetitions.
pub(crate) fn distinct(names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

fn valid_name(name: &str, span: Span) -> Outcome<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::new("invalid-name", span, format!("`{name}` cannot be the name of a target"))
        .help("use letters, digits, `_` and `-`; `sanitize` makes a name of any text"))
}
