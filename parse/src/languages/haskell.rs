//! Rules for Haskell.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, named, text,
};

use Role::{Comment, Definition, Gathered, Transparent};

pub(crate) static LANGUAGE: Language = Language {
    name: "haskell",
    extensions: &["hs", "hs-boot", "hsc", "hsig"],
    file_names: &[],
    shebangs: &["runghc", "runhaskell", "runhugs"],
    separator: ".",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_haskell::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("header", Definition(Shape::Leaf, "module", header)),
            Rule::new("imports", Transparent),
            Rule::new("declarations", Transparent),
            Rule::new("signature", Definition(Shape::Leaf, "function", signature)),
            Rule::new("function", Definition(Shape::Leaf, "function", equation)),
            Rule::new("bind", Definition(Shape::Leaf, "function", equation)),
            Rule::new("pragma", Definition(Shape::Leaf, "function", pragma)),
            Rule::new("data_type", Definition(Shape::Leaf, "struct", data)),
            Rule::new("newtype", Definition(Shape::Leaf, "struct", named)),
            Rule::new("type_synonym", Definition(Shape::Leaf, "type", named)),
            Rule::new("type_family", Definition(Shape::Leaf, "type", named)),
            Rule::new("data_family", Definition(Shape::Leaf, "type", named)),
            Rule::new("type_instance", Definition(Shape::Leaf, "type", named)),
            Rule::new("data_instance", Definition(Shape::Leaf, "type", named)),
            Rule::new(
                "pattern_synonym",
                Definition(Shape::Leaf, "function", pattern),
            ),
            Rule::new(
                "foreign_import",
                Definition(Shape::Leaf, "function", foreign),
            ),
            Rule::new("class", Definition(Shape::Container, "trait", class)),
            Rule::new("instance", Definition(Shape::Container, "impl", instance)),
            Rule::new("import", Gathered(Class::Import)),
            Rule::new("haddock", Comment),
            Rule::new("comment", Comment),
        ],
    }),
};

/// A value of fewer bytes that computes nothing is gathered with its neighbours.
const SMALL_CONSTANT: usize = 256;

/// How many comments and pragmas are looked over for a signature's equation.
const MAX_BETWEEN: usize = 8;

fn header<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("module");
    Verdict::Is(Described {
        name: name.map(|name| text(name, source)),
        signature_end: name.map(|name| name.end_byte()),
        ..Described::default()
    })
}

/// Returns what a signature or an equation names; an operator without its parentheses.
fn name_of(node: Node<'_>, source: &[u8]) -> Option<String> {
    let mut cursor = node.walk();
    let name = node.child_by_field_name("name").or_else(|| {
        node.named_children(&mut cursor)
            .find(|child| child.kind() == "infix")?
            .child_by_field_name("operator")
    })?;
    let name = text(name, source);
    Some(name.trim_matches(['(', ')', '`', ' ']).to_owned())
}

/// Tells whether an equation binds what is only written down: a literal, a list, a record.
fn is_constant(node: Node<'_>) -> bool {
    let value = node
        .child_by_field_name("match")
        .and_then(|value| value.child_by_field_name("expression"));
    node.kind() == "bind"
        && value.is_some_and(|value| {
            matches!(
                value.kind(),
                "literal" | "list" | "tuple" | "record" | "negation"
            )
        })
}

fn equation<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let is_constant = is_constant(node);
    let is_small = node.end_byte() - node.start_byte() < SMALL_CONSTANT;
    let Some(name) = name_of(node, source).filter(|_| !(is_constant && is_small)) else {
        return Verdict::Gathered(Class::Constant);
    };
    Verdict::Is(Described {
        kind: is_constant.then_some("constant"),
        clause_of: Some(name.clone()),
        name: Some(name),
        body: node.child_by_field_name("match"),
        ..Described::default()
    })
}

/// A signature is what the equation after it is; in a class there may be none.
fn signature<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = name_of(node, source);
    let mut next = node.next_named_sibling();
    for _ in 0..MAX_BETWEEN {
        match next {
            Some(between) if matches!(between.kind(), "comment" | "haddock" | "pragma") => {
                next = between.next_named_sibling();
            }
            _ => break,
        }
    }
    let equation_of = next
        .filter(|next| matches!(next.kind(), "function" | "bind"))
        .filter(|next| name.is_some() && name_of(*next, source) == name);
    match equation_of.map(|next| equation(next, source)) {
        Some(Verdict::Is(described)) => Verdict::Is(Described {
            body: None,
            ..described
        }),
        Some(other) => other,
        None => Verdict::Gathered(Class::Other),
    }
}

/// `{-# INLINE f #-}` belongs to the `f` before or after it.
fn pragma<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let words = text(node, source);
    let names = |sibling: Node<'_>| {
        let name = name_of(sibling, source)?;
        words
            .split([' ', ','])
            .any(|word| word == name)
            .then_some(name)
    };
    if let Some(name) = node.prev_named_sibling().and_then(names) {
        return Verdict::Is(Described {
            clause_of: Some(name.clone()),
            name: Some(name),
            ..Described::default()
        });
    }
    if node.next_named_sibling().and_then(names).is_some() {
        return Verdict::Attribute(None);
    }
    Verdict::Gathered(if words.contains("LANGUAGE") || words.contains("OPTIONS") {
        Class::Import
    } else {
        Class::Other
    })
}

fn data<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let constructors = node.child_by_field_name("constructors");
    let alternatives = constructors.map_or(0, |constructors| {
        let mut cursor = constructors.walk();
        constructors
            .named_children(&mut cursor)
            .filter(|child| child.kind().ends_with("constructor"))
            .count()
    });
    Verdict::Is(Described {
        kind: (alternatives > 1).then_some("enum"),
        name: name_of(node, source),
        body: constructors,
        signature_end: keyword_start(node),
        ..Described::default()
    })
}

/// Returns where the `where` of a node stands, if it has one.
fn keyword_start(node: Node<'_>) -> Option<usize> {
    let mut cursor = node.walk();
    node.children(&mut cursor)
        .find(|child| child.kind() == "where")
        .map(|keyword| keyword.start_byte())
}

fn class<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: name_of(node, source),
        body: node.child_by_field_name("declarations"),
        signature_end: keyword_start(node),
        ..Described::default()
    })
}

/// An instance is named for its class and its type.
fn instance<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let parts = ["name", "patterns"].into_iter();
    let parts: Vec<String> = parts
        .filter_map(|field| node.child_by_field_name(field))
        .map(|part| text(part, source))
        .collect();
    Verdict::Is(Described {
        name: (!parts.is_empty()).then(|| parts.join(" ")),
        body: node.child_by_field_name("declarations"),
        signature_end: keyword_start(node),
        ..Described::default()
    })
}

fn pattern<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let part = node.named_child(0);
    let name = part
        .and_then(|part| part.child_by_field_name("synonym"))
        .map(|name| text(name, source));
    Verdict::Is(Described {
        clause_of: name.clone(),
        name,
        body: part.filter(|part| part.kind() != "signature"),
        signature_end: Some(node.end_byte()),
        ..Described::default()
    })
}

fn foreign<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        name: node
            .child_by_field_name("signature")
            .and_then(|signature| name_of(signature, source)),
        ..Described::default()
    })
}
