//! Rules for Ruby, where a good part of what defines something is a call.

use tree_sitter::Node;

use crate::language::{
    Class, Cut, Described, Grammar, Language, Outline, Role, Rule, Shape, Verdict, text,
};

use Role::{Comment, Definition, Gathered, Transparent, Wrapper};

pub(crate) static LANGUAGE: Language = Language {
    name: "ruby",
    extensions: &[
        "rb",
        "builder",
        "eye",
        "gemspec",
        "god",
        "jbuilder",
        "mspec",
        "pluginspec",
        "podspec",
        "prawn",
        "rabl",
        "rake",
        "rbi",
        "rbuild",
        "rbw",
        "rbx",
        "ru",
        "ruby",
        "thor",
        "watchr",
    ],
    file_names: &[
        ".irbrc",
        ".pryrc",
        ".simplecov",
        "Appraisals",
        "Berksfile",
        "Brewfile",
        "Buildfile",
        "Capfile",
        "Dangerfile",
        "Deliverfile",
        "Fastfile",
        "Gemfile",
        "Guardfile",
        "Jarfile",
        "Mavenfile",
        "Podfile",
        "Puppetfile",
        "Rakefile",
        "Snapfile",
        "Steepfile",
        "Thorfile",
        "Vagrantfile",
        "buildfile",
    ],
    shebangs: &["ruby", "jruby", "macruby", "rake", "rbx"],
    separator: "::",
    loose: "block",
    cut: Cut::Syntax(Grammar {
        load: || tree_sitter_ruby::LANGUAGE.into(),
        outline: Outline::Definitions,
        rules: &[
            Rule::new("module", Definition(Shape::Container, "module", container)),
            Rule::new("class", Definition(Shape::Container, "class", container)),
            Rule::new(
                "singleton_class",
                Definition(Shape::Group, "class", singleton_class),
            ),
            Rule::new("method", Definition(Shape::Leaf, "function", method)),
            Rule::new(
                "singleton_method",
                Definition(Shape::Leaf, "function", singleton_method),
            ),
            Rule::new("call", Definition(Shape::Leaf, "function", call)),
            Rule::new("assignment", Definition(Shape::Leaf, "class", assignment)),
            Rule::new("operator_assignment", Gathered(Class::Constant)),
            Rule::new("begin", Definition(Shape::Leaf, "block", guarded)),
            Rule::new("if_modifier", Wrapper),
            Rule::new("unless_modifier", Wrapper),
            // The text of a heredoc stands behind the statement that it belongs to.
            Rule::new("heredoc_body", Gathered(Class::Comment)),
            // What a block or a body holds is reached only where that is opened.
            Rule::new("body_statement", Transparent),
            Rule::new("block_body", Transparent),
            Rule::new("comment", Comment),
        ],
    }),
};

/// How many nodes are climbed from a method to what it is in: `private`, a block, a body.
const MAX_CLIMB: usize = 8;

/// Returns the bytes of a node's field.
fn word<'s>(node: Node<'_>, field: &str, source: &'s [u8]) -> &'s [u8] {
    let word = node.child_by_field_name(field);
    word.and_then(|word| source.get(word.byte_range()))
        .unwrap_or_default()
}

/// `begin require "a" rescue LoadError end` is an import.
fn guarded<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let first = node.named_child(0);
    let is_require = first.is_some_and(|first| {
        matches!(
            word(first, "method", source),
            b"require" | b"require_relative" | b"load"
        )
    });
    Verdict::Gathered(if is_require {
        Class::Import
    } else {
        Class::Other
    })
}

/// Divides `A::B::C` into the name and what it is qualified by.
fn constant(node: Node<'_>, source: &[u8]) -> (String, Option<String>) {
    match node.child_by_field_name("name") {
        Some(name) if node.kind() == "scope_resolution" => (
            text(name, source),
            node.child_by_field_name("scope")
                .map(|scope| text(scope, source)),
        ),
        _ => (text(node, source), None),
    }
}

/// Comments may stand between a class's first line and the body.
fn container<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    let parts = name.map(|name| constant(name, source));
    let (name, qualifier) = parts.map_or((None, None), |(name, scope)| (Some(name), scope));
    let head = ["superclass", "name"];
    let head = head
        .iter()
        .find_map(|field| node.child_by_field_name(field));
    Verdict::Is(Described {
        name,
        qualifier,
        body: node.child_by_field_name("body"),
        signature_end: head.map(|head| head.end_byte()),
        ..Described::default()
    })
}

/// The methods of `class << self` are the class's own.
fn singleton_class<'t>(node: Node<'t>, _: &[u8]) -> Verdict<'t> {
    Verdict::Is(Described {
        body: node.child_by_field_name("body"),
        signature_end: node
            .child_by_field_name("value")
            .map(|value| value.end_byte()),
        ..Described::default()
    })
}

/// What surrounds a method, as far as its symbol tells.
enum Around<'t> {
    /// A class or a module, in which it is called on an instance.
    Instance(Node<'t>),
    /// `class << self`, or the like of it.
    Singleton,
    Nothing,
}

fn around<'t>(node: Node<'t>, source: &[u8]) -> Around<'t> {
    let mut above = node.parent();
    for _ in 0..MAX_CLIMB {
        let Some(node) = above else {
            break;
        };
        match node.kind() {
            "class" | "module" => return Around::Instance(node),
            "singleton_class" => return Around::Singleton,
            "call" if word(node, "method", source) == b"class_methods" => return Around::Singleton,
            "call" if new_type(node, source).is_some() => return Around::Instance(node),
            "call" if word(node, "method", source) == b"refine" => return Around::Instance(node),
            "method" | "singleton_method" => break,
            _ => {}
        }
        above = node.parent();
    }
    Around::Nothing
}

/// Describes a method for its name: `Type#name`, or `Type.name` of a singleton.
fn member<'t>(node: Node<'t>, name: Option<String>, source: &[u8]) -> Described<'t> {
    let (kind, joint) = match around(node, source) {
        Around::Instance(_) => (Some("method"), Some("#")),
        Around::Singleton => (Some("method"), Some(".")),
        Around::Nothing => (None, Some("#")),
    };
    Described {
        kind,
        name,
        joint,
        ..Described::default()
    }
}

fn method<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let name = node.child_by_field_name("name");
    let head = node.child_by_field_name("parameters").or(name);
    Verdict::Is(Described {
        body: node.child_by_field_name("body"),
        signature_end: head.map(|head| head.end_byte()),
        ..member(node, name.map(|name| text(name, source)), source)
    })
}

/// `def self.name`, or `def Type.name`, in which the type may be the one around it.
fn singleton_method<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Verdict::Is(described) = method(node, source) else {
        return Verdict::Gathered(Class::Other);
    };
    let object = node.child_by_field_name("object");
    let object = object.filter(|object| object.kind() != "self");
    let is_around = match around(node, source) {
        Around::Instance(container) => {
            word(container, "name", source) == word(node, "object", source)
        }
        _ => false,
    };
    Verdict::Is(Described {
        joint: Some("."),
        qualifier: object
            .filter(|_| !is_around)
            .map(|object| text(object, source)),
        ..described
    })
}

/// Returns the first argument of a call.
fn argument(call: Node<'_>) -> Option<Node<'_>> {
    call.child_by_field_name("arguments")?.named_child(0)
}

/// Returns the text of a symbol, a string or a constant; `None` of what is computed.
fn title(node: Node<'_>, source: &[u8]) -> Option<String> {
    let is_plain = match node.kind() {
        "simple_symbol" | "constant" | "scope_resolution" => true,
        "string" | "delimited_symbol" => {
            let mut cursor = node.walk();
            node.named_children(&mut cursor)
                .all(|part| part.kind() != "interpolation")
        }
        "pair" => return title(node.child_by_field_name("key")?, source),
        "hash_key_symbol" => true,
        _ => false,
    };
    let title = text(node, source);
    let title = title.trim_start_matches(':').trim_matches(['"', '\'']);
    (is_plain && !title.is_empty()).then(|| title.to_owned())
}

/// What a call with a block defines, by the word that it begins with.
fn call<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let block = node.child_by_field_name("block");
    if let (Some(kind), Some(body)) = (new_type(node, source), block) {
        return Verdict::Is(Described {
            kind: Some(kind),
            shape: Some(Shape::Container),
            body: Some(body),
            ..Described::default()
        });
    }
    let receiver = word(node, "receiver", source);
    if !matches!(receiver, b"" | b"RSpec") {
        return Verdict::Gathered(Class::Other);
    }
    let argument = argument(node);
    let name = argument.and_then(|argument| title(argument, source));
    match (word(node, "method", source), block) {
        (b"define_method" | b"define_singleton_method", Some(_)) if name.is_some() => {
            let described = member(node, name, source);
            let is_singleton = word(node, "method", source) == b"define_singleton_method";
            Verdict::Is(Described {
                joint: if is_singleton {
                    Some(".")
                } else {
                    described.joint
                },
                body: block,
                ..described
            })
        }
        (b"refine", Some(_)) if name.is_some() => block_of(node, &REFINEMENT, name),
        (b"class_methods", Some(_)) => block_of(node, &CLASS_METHODS, None),
        (b"namespace", Some(_)) if name.is_some() => block_of(node, &NAMESPACE, name),
        (b"task" | b"file" | b"multitask", Some(_)) if name.is_some() => {
            block_of(node, &TASK, name)
        }
        (
            b"describe"
            | b"context"
            | b"feature"
            | b"shared_examples"
            | b"shared_examples_for"
            | b"shared_context",
            Some(_),
        ) if name.is_some() => block_of(node, &EXAMPLES, name),
        (b"it" | b"specify" | b"scenario" | b"test" | b"should", Some(_)) if name.is_some() => {
            block_of(node, &EXAMPLE, name)
        }
        (
            verb @ (b"get" | b"post" | b"put" | b"patch" | b"delete" | b"options" | b"head"),
            Some(_),
        ) if name.as_ref().is_some_and(|path| path.starts_with('/')) => {
            let verb = String::from_utf8_lossy(verb);
            block_of(node, &ROUTE, name.map(|path| format!("{verb} {path}")))
        }
        (b"sig", Some(_)) => Verdict::Attribute(None),
        (b"desc", None) => Verdict::Attribute(name),
        (
            b"require" | b"require_relative" | b"load" | b"autoload" | b"using" | b"include"
            | b"extend" | b"prepend" | b"gem",
            None,
        ) => Verdict::Gathered(Class::Import),
        (
            b"attr_reader"
            | b"attr_writer"
            | b"attr_accessor"
            | b"private_constant"
            | b"public_constant"
            | b"deprecate_constant",
            None,
        ) => Verdict::Gathered(Class::Constant),
        // `private def name`, and whatever else takes the method that is defined.
        _ => match argument {
            Some(definition) if definition.kind() == "method" => method(definition, source),
            Some(definition) if definition.kind() == "singleton_method" => {
                singleton_method(definition, source)
            }
            _ => Verdict::Gathered(Class::Other),
        },
    }
}

/// What a call with a block defines, and what joins its name to those around it.
struct Block {
    kind: &'static str,
    shape: Shape,
    joint: &'static str,
}

impl Block {
    const fn new(kind: &'static str, shape: Shape, joint: &'static str) -> Self {
        Block { kind, shape, joint }
    }
}

static REFINEMENT: Block = Block::new("impl", Shape::Container, "::");
static CLASS_METHODS: Block = Block::new("class", Shape::Group, "::");
static NAMESPACE: Block = Block::new("module", Shape::Container, ":");
static TASK: Block = Block::new("function", Shape::Leaf, ":");
static EXAMPLES: Block = Block::new("block", Shape::Group, " ");
static EXAMPLE: Block = Block::new("function", Shape::Leaf, " ");
static ROUTE: Block = Block::new("function", Shape::Leaf, " ");

fn block_of<'t>(node: Node<'t>, block: &Block, name: Option<String>) -> Verdict<'t> {
    Verdict::Is(Described {
        kind: Some(block.kind),
        shape: Some(block.shape),
        joint: Some(block.joint),
        name,
        body: node.child_by_field_name("block"),
        ..Described::default()
    })
}

/// Returns what `Struct.new`, `Data.define`, `Class.new` or `Module.new` makes.
fn new_type(call: Node<'_>, source: &[u8]) -> Option<&'static str> {
    match (word(call, "receiver", source), word(call, "method", source)) {
        (b"Struct", b"new") | (b"Data", b"define") => Some("struct"),
        (b"Class", b"new") => Some("class"),
        (b"Module", b"new") => Some("module"),
        _ => None,
    }
}

/// `Place = Struct.new(:board) do … end` is a type, all else that names something a
/// constant.
fn assignment<'t>(node: Node<'t>, source: &[u8]) -> Verdict<'t> {
    let Some(left) = node.child_by_field_name("left") else {
        return Verdict::Gathered(Class::Other);
    };
    match left.kind() {
        "constant" | "scope_resolution" => {}
        "identifier" | "global_variable" | "class_variable" => {
            return Verdict::Gathered(Class::Constant);
        }
        _ => return Verdict::Gathered(Class::Other),
    }
    let right = node.child_by_field_name("right");
    let right = right.filter(|right| right.kind() == "call");
    let Some((call, kind)) = right.and_then(|call| Some((call, new_type(call, source)?))) else {
        return Verdict::Gathered(Class::Constant);
    };
    let body = call.child_by_field_name("block");
    let (name, qualifier) = constant(left, source);
    Verdict::Is(Described {
        kind: Some(kind),
        shape: body.map(|_| Shape::Container),
        name: Some(name),
        qualifier,
        body,
        ..Described::default()
    })
}
