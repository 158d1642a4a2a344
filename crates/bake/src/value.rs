//! Values and their types, as HCL's type system has them.
//!
//! What is written in brackets is a tuple or an object, whose elements have a type each. Lists,
//! sets and maps, whose elements have one type, come from conversions and functions. A null
//! has a type too.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::number::Number;

/// A type, or a constraint of one: `Any` admits every value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Type {
    Any,
    Bool,
    Number,
    String,
    List(Rc<Self>),
    Set(Rc<Self>),
    Map(Rc<Self>),
    Tuple(Rc<Vec<Self>>),
    /// Attributes with their types, and whether they may be left out.
    Object(Rc<BTreeMap<Rc<str>, (Self, bool)>>),
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null(Type),
    Bool(bool),
    Number(Number),
    String(Rc<str>),
    List(Type, Rc<Vec<Self>>),
    /// In order, each once.
    Set(Type, Rc<Vec<Self>>),
    Map(Type, Rc<BTreeMap<Rc<str>, Self>>),
    Tuple(Rc<Vec<Self>>),
    Object(Rc<BTreeMap<Rc<str>, Self>>),
}

impl Type {
    pub(crate) fn list(element: Self) -> Self {
        Self::List(Rc::new(element))
    }

    pub(crate) fn map(element: Self) -> Self {
        Self::Map(Rc::new(element))
    }

    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::Bool | Self::Number | Self::String)
    }

    /// The type of the elements of a list, a set or a map.
    pub(crate) fn element(&self) -> Option<&Self> {
        match self {
            Self::List(element) | Self::Set(element) | Self::Map(element) => Some(element),
            _ => None,
        }
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Number => "number".to_owned(),
            Self::String => "string".to_owned(),
            Self::List(element) => format!("list of {}", element.name()),
            Self::Set(element) => format!("set of {}", element.name()),
            Self::Map(element) => format!("map of {}", element.name()),
            Self::Tuple(_) => "tuple".to_owned(),
            Self::Object(_) => "object".to_owned(),
        }
    }
}

impl Value {
    pub(crate) fn string(text: impl AsRef<str>) -> Self {
        use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
        let text = text.as_ref();
        if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            return Self::String(text.into());
        }
        Self::String(text.nfc().collect::<String>().into())
    }

    pub(crate) fn tuple(elements: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(elements))
    }

    pub(crate) fn list(element: Type, elements: Vec<Self>) -> Self {
        Self::List(element, Rc::new(elements))
    }

    pub(crate) fn strings<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::list(Type::String, texts.into_iter().map(Self::string).collect())
    }

    pub(crate) fn set(element: Type, mut elements: Vec<Self>) -> Self {
        elements.sort();
        elements.dedup();
        Self::Set(element, Rc::new(elements))
    }

    pub(crate) fn map(element: Type, entries: BTreeMap<Rc<str>, Self>) -> Self {
        Self::Map(element, Rc::new(entries))
    }

    pub(crate) fn object(entries: BTreeMap<Rc<str>, Self>) -> Self {
        Self::Object(Rc::new(entries))
    }

    pub(crate) fn count(value: usize) -> Self {
        Self::Number(Number::from(value))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null(_))
    }

    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Null(ty) => ty.clone(),
            Self::Bool(_) => Type::Bool,
            Self::Number(_) => Type::Number,
            Self::String(_) => Type::String,
            Self::List(element, _) => Type::list(element.clone()),
            Self::Set(element, _) => Type::Set(Rc::new(element.clone())),
            Self::Map(element, _) => Type::map(element.clone()),
            Self::Tuple(elements) => Type::Tuple(Rc::new(elements.iter().map(Self::ty).collect())),
            Self::Object(entries) => Type::Object(Rc::new(
                entries.iter().map(|(name, value)| (name.clone(), (value.ty(), false))).collect(),
            )),
        }
    }

    /// The elements of a list, a set or a tuple.
    pub(crate) fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::List(_, elements) | Self::Set(_, elements) | Self::Tuple(elements) => {
                Some(elements)
            }
            _ => None,
        }
    }

    /// The entries of a map or an object.
    pub(crate) fn entries(&self) -> Option<&BTreeMap<Rc<str>, Self>> {
        match self {
            Self::Map(_, entries) | Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Keys and values, of anything that has elements.
    pub(crate) fn pairs(&self) -> Option<Vec<(Self, Self)>> {
        if let Some(entries) = self.entries() {
            let pair = |(key, value): (&Rc<str>, &Self)| (Self::String(key.clone()), value.clone());
            return Some(entries.iter().map(pair).collect());
        }
        let elements = self.elements()?;
        let is_set = matches!(self, Self::Set(..));
        let pair = |(at, value): (usize, &Self)| {
            (if is_set { value.clone() } else { Self::count(at) }, value.clone())
        };
        Some(elements.iter().enumerate().map(pair).collect())
    }

    /// Whether two values are equal as `==` sees it: values of different types never are.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null(_), Self::Null(_)) => true,
            (Self::List(a, left), Self::List(b, right))
            | (Self::Set(a, left), Self::Set(b, right)) => a == b && all_equal(left, right),
            (Self::Tuple(left), Self::Tuple(right)) => all_equal(left, right),
            (Self::Map(a, left), Self::Map(b, right)) => a == b && same_entries(left, right),
            (Self::Object(left), Self::Object(right)) => same_entries(left, right),
            (left, right) => left == right,
        }
    }
}

fn all_equal(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.equals(b))
}

fn same_entries(left: &BTreeMap<Rc<str>, Value>, right: &BTreeMap<Rc<str>, Value>) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((a, x), (b, y))| a == b && x.equals(y))
}
