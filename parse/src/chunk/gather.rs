//! Groups loose entries into chunks of a useful size.

use std::ops::Range;

use super::collect::{Atom, What};
use super::windows::trimmed_len;
use crate::language::Class;

/// A group of this many bytes is not mixed with entries of another class.
const SETTLED: usize = 200;

/// A constant of this many bytes, such as a table, is a chunk of its own.
const LARGE_CONSTANT: usize = 256;

/// A chunk of fewer bytes is joined to its neighbour.
pub(super) const TINY: usize = 40;

/// Entries that become one chunk.
pub(super) struct Group {
    /// Indexes into the run of entries.
    pub(super) entries: Range<usize>,
    pub(super) span: Range<usize>,
    /// `None` for a mixture.
    pub(super) class: Option<Class>,
}

/// Groups a run of loose entries that fills `span`, each group of at most `limit` bytes
/// unless a single entry has more.
pub(super) fn groups(
    source: &[u8],
    run: &[Atom<'_>],
    span: Range<usize>,
    limit: usize,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, atom) in run.iter().enumerate() {
        let start = if index == 0 { span.start } else { atom.start };
        let end = run.get(index + 1).map_or(span.end, |next| next.start);
        let class = class_of(atom);
        let large = is_large_constant(atom);
        match groups.last_mut() {
            Some(group) if joins(source, run, group, start..end, class, limit) && !large => {
                group.class = mixed(group, class);
                group.entries.end = index + 1;
                group.span.end = end;
            }
            // Too little to be found by goes with whatever follows it, and is named for that.
            Some(group) if trimmed_len(source, group.span.clone()) < TINY => {
                group.class = Some(class);
                group.entries = index..index + 1;
                group.span.end = end;
            }
            _ => groups.push(Group {
                entries: index..index + 1,
                span: start..end,
                class: Some(class),
            }),
        }
    }
    join_tiny(source, groups, limit)
}

fn class_of(atom: &Atom<'_>) -> Class {
    match &atom.what {
        What::Loose(class, _) => *class,
        What::Definition(_) => Class::Other,
    }
}

fn is_large_constant(atom: &Atom<'_>) -> bool {
    class_of(atom) == Class::Constant && atom.end - atom.start >= LARGE_CONSTANT
}

fn joins(
    source: &[u8],
    run: &[Atom<'_>],
    group: &Group,
    next: Range<usize>,
    class: Class,
    limit: usize,
) -> bool {
    let size = trimmed_len(source, group.span.clone());
    if trimmed_len(source, group.span.start..next.end) > limit {
        return false;
    }
    let same = mixed(group, class) == group.class;
    let closed =
        group.entries.len() == 1 && run.get(group.entries.start).is_some_and(is_large_constant);
    !closed && (same || size < SETTLED || group.class == Some(Class::Comment))
}

/// Returns the class of a group with one more entry; a comment changes nothing.
fn mixed(group: &Group, class: Class) -> Option<Class> {
    match (group.class, class) {
        (Some(Class::Comment), class) => Some(class),
        (own, Class::Comment) => own,
        (Some(own), class) if own == class => Some(own),
        _ => None,
    }
}

fn join_tiny(source: &[u8], groups: Vec<Group>, limit: usize) -> Vec<Group> {
    let mut joined: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        let size = trimmed_len(source, group.span.clone());
        match joined.last_mut() {
            Some(last)
                if size < TINY && takes(source, last.span.clone(), group.span.end, limit) =>
            {
                last.entries.end = group.entries.end;
                last.span.end = group.span.end;
                if last.class != group.class && group.class != Some(Class::Comment) {
                    last.class = None;
                }
            }
            _ => joined.push(group),
        }
    }
    joined
}

/// Tells whether a span can be made to end later: it stays within the limit, or is
/// beyond it already and will be cut by lines in any case.
pub(super) fn takes(source: &[u8], span: Range<usize>, end: usize, limit: usize) -> bool {
    trimmed_len(source, span.start..end) <= limit || trimmed_len(source, span) > limit
}

/// Packs entries that belong to one definition into spans of at most `limit` bytes,
/// of about equal size.
pub(super) fn pack(
    source: &[u8],
    run: &[Atom<'_>],
    span: Range<usize>,
    limit: usize,
) -> Vec<Range<usize>> {
    let total = trimmed_len(source, span.clone());
    // Equal parts: a full piece followed by two lines would leave those without context.
    let goal = total.div_ceil(total.div_ceil(limit).max(1));
    let mut spans = Vec::new();
    let mut start = span.start;
    for (index, atom) in run.iter().enumerate().skip(1) {
        let end = run.get(index + 1).map_or(span.end, |next| next.start);
        let so_far = trimmed_len(source, start..atom.start);
        let with = trimmed_len(source, start..end);
        if so_far > 0 && (with > limit || so_far >= goal) {
            spans.push(start..atom.start);
            start = atom.start;
        }
    }
    let last = start..span.end;
    match spans.pop() {
        Some(before)
            if trimmed_len(source, before.clone()) > limit
                && trimmed_len(source, last.clone()) < TINY =>
        {
            spans.push(before.start..last.end)
        }
        Some(before) if trimmed_len(source, last.clone()) < limit / 8 => {
            // Two lines alone say little: the end takes some of what is before it.
            let cut = run
                .iter()
                .rev()
                .map(|atom| atom.start)
                .filter(|start| before.start < *start && *start < last.start)
                .find(|start| trimmed_len(source, *start..last.end) >= limit / 4)
                .filter(|start| trimmed_len(source, *start..last.end) <= limit)
                .unwrap_or(last.start);
            spans.push(before.start..cut);
            spans.push(cut..last.end);
        }
        Some(before) => spans.extend([before, last]),
        None => spans.push(last),
    }
    spans
}
