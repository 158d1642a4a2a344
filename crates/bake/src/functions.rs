//! The functions that bake files may call.
//!
//! [`TABLE`] says what each takes; arguments are brought to these types before it runs. A
//! function that would need a secret or luck is there to say that it is not.

mod collections;
mod dates;
mod encoding;
mod formatting;
mod lists;
mod network;
mod numbers;
mod regexes;
mod sets;
mod strings;

use crate::Surroundings;
use crate::convert::convert;
use crate::value::{Type, Value};

pub(crate) use encoding::{from_json_as, to_json};

/// What comes of a call, or why nothing does.
pub(crate) type Answer = Result<Value, String>;

/// No function makes a text longer than this.
const MAX_TEXT: usize = 16 << 20;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Number,
    Bool,
    /// A list of strings.
    Texts,
    /// A list with elements of any one type.
    List,
    /// A set with elements of any one type.
    Set,
    /// Whatever it is, but null.
    Any,
    /// Whatever it is.
    Nullable,
}

use Takes::{Any, Bool, List, Nullable, Number, Set, Text, Texts};

/// What runs a function.
type Run = fn(&[Value], &Surroundings<'_>) -> Answer;

/// A function: its name, its parameters, the type of any further ones.
pub(crate) struct Builtin {
    name: &'static str,
    takes: &'static [Takes],
    more: Option<Takes>,
    run: Run,
}

const fn one(name: &'static str, takes: &'static [Takes], run: Run) -> Builtin {
    Builtin { name, takes, more: None, run }
}

const fn many(name: &'static str, takes: &'static [Takes], more: Takes, run: Run) -> Builtin {
    Builtin { name, takes, more: Some(more), run }
}

/// All functions, by name. `can`, `convert` and `try` are here for their names only.
const TABLE: &[Builtin] = &[
    one("absolute", &[Number], numbers::absolute),
    one("add", &[Number, Number], numbers::add),
    one("and", &[Bool, Bool], numbers::and),
    one("base64decode", &[Text], encoding::base64decode),
    one("base64encode", &[Text], encoding::base64encode),
    one("basename", &[Text], strings::basename),
    many("bcrypt", &[Text], Number, refused),
    one("byteslen", &[Any], refused),
    one("bytesslice", &[Any, Number, Number], refused),
    one("can", &[Any], refused),
    one("ceil", &[Number], numbers::ceil),
    one("chomp", &[Text], strings::chomp),
    one("chunklist", &[List, Number], lists::chunklist),
    one("cidrhost", &[Text, Number], network::cidrhost),
    one("cidrnetmask", &[Text], network::cidrnetmask),
    one("cidrsubnet", &[Text, Number, Number], network::cidrsubnet),
    many("cidrsubnets", &[Text], Number, network::cidrsubnets),
    many("coalesce", &[], Nullable, collections::coalesce),
    many("coalescelist", &[], Nullable, lists::coalescelist),
    one("compact", &[Texts], lists::compact),
    many("concat", &[], Any, lists::concat),
    one("contains", &[Any, Any], collections::contains),
    one("convert", &[Any, Any], refused),
    one("csvdecode", &[Text], encoding::csvdecode),
    one("dirname", &[Text], strings::dirname),
    one("distinct", &[List], lists::distinct),
    one("divide", &[Number, Number], numbers::divide),
    one("element", &[Any, Number], lists::element),
    one("equal", &[Nullable, Nullable], collections::equal),
    one("flatten", &[Any], lists::flatten),
    one("floor", &[Number], numbers::floor),
    many("format", &[Text], Nullable, formatting::format),
    one("formatdate", &[Text, Text], dates::formatdate),
    many("formatlist", &[Text], Nullable, formatting::formatlist),
    one("greaterthan", &[Number, Number], numbers::greaterthan),
    one("greaterthanorequalto", &[Number, Number], numbers::greaterthanorequalto),
    one("hasindex", &[Any, Any], collections::hasindex),
    one("homedir", &[], strings::homedir),
    one("indent", &[Number, Text], strings::indent),
    one("index", &[Any, Any], collections::index),
    one("indexof", &[Any, Any], collections::indexof),
    one("int", &[Number], numbers::int),
    many("join", &[Text], Texts, strings::join),
    one("jsondecode", &[Text], encoding::jsondecode),
    one("jsonencode", &[Nullable], encoding::jsonencode),
    one("keys", &[Any], collections::keys),
    one("length", &[Any], collections::length),
    one("lessthan", &[Number, Number], numbers::lessthan),
    one("lessthanorequalto", &[Number, Number], numbers::lessthanorequalto),
    one("log", &[Number, Number], numbers::log),
    one("lookup", &[Any, Text, Any], collections::lookup),
    one("lower", &[Text], strings::lower),
    many("max", &[], Number, numbers::max),
    one("md5", &[Text], encoding::md5),
    many("merge", &[], Nullable, collections::merge),
    many("min", &[], Number, numbers::min),
    one("modulo", &[Number, Number], numbers::modulo),
    one("multiply", &[Number, Number], numbers::multiply),
    one("negate", &[Number], numbers::negate),
    one("not", &[Bool], numbers::not),
    one("notequal", &[Nullable, Nullable], collections::notequal),
    one("or", &[Bool, Bool], numbers::or),
    one("parseint", &[Any, Number], numbers::parseint),
    one("pow", &[Number, Number], numbers::pow),
    many("range", &[], Number, numbers::range),
    one("regex", &[Text, Text], regexes::regex),
    one("regex_replace", &[Text, Text, Text], regexes::regex_replace),
    one("regexall", &[Text, Text], regexes::regexall),
    one("replace", &[Text, Text, Text], strings::replace),
    one("reverse", &[Text], strings::reverse),
    one("reverselist", &[Any], lists::reverselist),
    one("rsadecrypt", &[Text, Text], refused),
    one("sanitize", &[Text], strings::sanitize),
    one("sethaselement", &[Set, Any], sets::sethaselement),
    many("setintersection", &[Set], Set, sets::setintersection),
    many("setproduct", &[], Any, sets::setproduct),
    one("setsubtract", &[Set, Set], sets::setsubtract),
    many("setsymmetricdifference", &[Set], Set, sets::setsymmetricdifference),
    many("setunion", &[Set], Set, sets::setunion),
    one("sha1", &[Text], encoding::sha1),
    one("sha256", &[Text], encoding::sha256),
    one("sha512", &[Text], encoding::sha512),
    one("signum", &[Number], numbers::signum),
    one("slice", &[Any, Number, Number], lists::slice),
    one("sort", &[Texts], lists::sort),
    one("split", &[Text, Text], strings::split),
    one("strlen", &[Text], strings::strlen),
    one("substr", &[Text, Number, Number], strings::substr),
    one("subtract", &[Number, Number], numbers::subtract),
    one("timeadd", &[Text, Text], dates::timeadd),
    one("timestamp", &[], dates::timestamp),
    one("title", &[Text], strings::title),
    one("trim", &[Text, Text], strings::trim),
    one("trimprefix", &[Text, Text], strings::trimprefix),
    one("trimspace", &[Text], strings::trimspace),
    one("trimsuffix", &[Text, Text], strings::trimsuffix),
    many("try", &[], Any, refused),
    one("upper", &[Text], strings::upper),
    one("urlencode", &[Text], encoding::urlencode),
    one("uuidv4", &[], encoding::uuidv4),
    one("uuidv5", &[Text, Text], encoding::uuidv5),
    one("values", &[Any], collections::values),
    one("zipmap", &[Texts, Any], collections::zipmap),
];

/// The function of that name, if there is one.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    TABLE.binary_search_by(|each| each.name.cmp(name)).ok().map(|at| &TABLE[at])
}

fn refused(_: &[Value], _: &Surroundings<'_>) -> Answer {
    Err("this function is not available with these arguments".to_owned())
}

impl Builtin {
    /// Brings the arguments to the types that are wanted, and runs the function.
    pub(crate) fn call(&self, arguments: &[Value], around: &Surroundings<'_>) -> Answer {
        let (given, wanted) = (arguments.len(), self.takes.len());
        if given < wanted || (given > wanted && self.more.is_none()) {
            return Err(format!("it takes {wanted} arguments, not {given}"));
        }
        let takes = self.takes.iter().copied().chain(self.more.into_iter().cycle());
        let each = arguments.iter().zip(takes).enumerate().map(|(at, (value, takes))| {
            takes.convert(value).map_err(|why| format!("argument {}: {why}", at + 1))
        });
        (self.run)(&each.collect::<Result<Vec<_>, _>>()?, around)
    }

    /// How it is called.
    pub(crate) fn usage(&self) -> String {
        let names: Vec<&str> = self.takes.iter().map(|takes| takes.name()).collect();
        let more = self.more.map(|takes| format!("{}...", takes.name()));
        let all = names.into_iter().map(str::to_owned).chain(more).collect::<Vec<_>>();
        format!("{}({})", self.name, all.join(", "))
    }
}

impl Takes {
    fn name(self) -> &'static str {
        match self {
            Text => "string",
            Number => "number",
            Bool => "bool",
            Texts => "list of string",
            List => "list",
            Set => "set",
            Any | Nullable => "value",
        }
    }

    fn convert(self, value: &Value) -> Answer {
        if value.is_null() && self != Nullable {
            return Err("it must not be null".to_owned());
        }
        match self {
            Text => convert(value, &Type::String),
            Number => convert(value, &Type::Number),
            Bool => convert(value, &Type::Bool),
            Texts => convert(value, &Type::list(Type::String)),
            List => convert(value, &Type::list(Type::Any)),
            Set => convert(value, &Type::Set(std::rc::Rc::new(Type::Any))),
            Any | Nullable => Ok(value.clone()),
        }
    }
}

/// The text at `at`, whose type the table has seen to.
fn text(arguments: &[Value], at: usize) -> &str {
    arguments.get(at).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number that is not too large to count with.
fn whole(arguments: &[Value], at: usize) -> Result<i64, String> {
    match arguments.get(at) {
        Some(Value::Number(number)) => {
            number.to_i64().ok_or_else(|| format!("`{number}` is not a usable whole number"))
        }
        _ => Err("a whole number is required".to_owned()),
    }
}

/// The elements at `at`, whose type the table has seen to.
fn elements(arguments: &[Value], at: usize) -> Result<&[Value], String> {
    arguments
        .get(at)
        .and_then(Value::elements)
        .ok_or_else(|| "a list, a set or a tuple is required".to_owned())
}

fn at_most(length: usize) -> Result<(), String> {
    if length > MAX_TEXT { Err("the result would be too long".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn functions_are_listed_by_name_so_that_they_can_be_found() {
        assert!(TABLE.is_sorted_by(|one, next| one.name < next.name));
    }
}
