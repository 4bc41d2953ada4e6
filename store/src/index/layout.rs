//! What the table's manifest tells of fragments and indexes, and what upkeep follows from it.
//!
//! Nothing here reads data or index files, so that a run with nothing to do pays nothing.

use std::collections::{BTreeMap, HashSet};

use lance::dataset::Dataset;
use lance::index::DatasetIndexExt as _;
use lancedb::table::OptimizeOptions;

use super::kinds::is_text;

/// Rows that may lie outside the indexes that are not of text, where each search reads them one by
/// one.
///
/// For a search of words it is not their number that counts: as soon as there is one, the database
/// takes twice as long.
pub(super) const TAIL_ROWS: usize = 1_000;

/// Fragments of fewer than [`SMALL_ROWS`] that may lie outside the indexes: each costs a search
/// the opening of its file.
const TAIL_FRAGMENTS: usize = 8;

/// Rows from which a fragment outside the indexes is left as it is until these take it in.
const SMALL_ROWS: usize = 128;

/// Rows to which the part of an index that is not the first grows at least, before the next one
/// begins.
///
/// New rows are merged with the last part, which is written anew: so much at most, or, so that
/// parts stay few, one in [`PART_SHARE`] of the rows.
const PART_ROWS: usize = 8_192;

/// See [`PART_ROWS`].
const PART_SHARE: usize = 20;

/// The share of rows that are deleted, or outside the first part of an index, from which all is
/// made anew: one in so many.
///
/// It bounds the store's size and the number of an index's parts, and its price for each changed
/// row is at most that of indexing so many.
const STALE_SHARE: usize = 5;

/// The table as its manifest describes it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    fragments: Vec<Fragment>,
    /// The parts of each index, by its name: the fragments of each, in the order of their making.
    indexes: BTreeMap<String, Vec<HashSet<u32>>>,
}

/// A file of rows.
#[derive(Clone, Copy, Debug)]
struct Fragment {
    id: u32,
    /// Rows that are not deleted.
    rows: usize,
    deleted: usize,
}

impl Layout {
    /// Reads it from a version of the table.
    pub(super) async fn of(dataset: &Dataset) -> lance::Result<Self> {
        let fragments = dataset.get_fragments();
        let fragments = fragments.iter().map(|fragment| {
            let metadata = fragment.metadata();
            let marks = metadata.deletion_file.as_ref();
            let deleted = marks.and_then(|file| file.num_deleted_rows);
            let deleted = deleted.unwrap_or_default();
            Fragment {
                id: metadata.id as u32,
                rows: metadata.physical_rows.unwrap_or_default() - deleted,
                deleted,
            }
        });
        let mut indexes: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for part in dataset.load_indices().await?.iter() {
            let covered = part.fragment_bitmap.iter().flatten().collect();
            indexes.entry(part.name.clone()).or_default().push(covered);
        }
        Ok(Self {
            fragments: fragments.collect(),
            indexes,
        })
    }

    /// Returns how many rows there are, deleted ones left out.
    pub(super) fn rows(&self) -> usize {
        self.fragments.iter().map(|fragment| fragment.rows).sum()
    }

    /// Returns the names of the indexes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.indexes.keys().map(String::as_str)
    }

    /// Tells whether so much has changed since the indexes were made that all is made anew.
    pub(super) fn is_stale(&self) -> bool {
        let firsts = self.indexes.values().filter_map(|parts| parts.first());
        let Some(first) = firsts.map(|part| self.rows_in(part)).min() else {
            return false;
        };
        let deleted: usize = self.fragments.iter().map(|fragment| fragment.deleted).sum();
        let changed = self.rows() - first + deleted;
        changed > TAIL_ROWS && changed * STALE_SHARE > self.rows()
    }

    /// Returns the fragments that are to stay as they are when others are joined, if any are:
    /// those outside of the indexes when these are about to take them in, and before that the
    /// small ones among them when they are many.
    pub(super) fn apart_from_joined(&self) -> Option<Vec<u32>> {
        let is_full = self.is_tail_full();
        let is_joined = |fragment: &&Fragment| {
            self.is_in_tail(fragment.id) && (is_full || fragment.rows < SMALL_ROWS)
        };
        let (joined, others): (Vec<&Fragment>, Vec<&Fragment>) =
            self.fragments.iter().partition(is_joined);
        let pays = joined.len() > TAIL_FRAGMENTS || (is_full && joined.len() > 1);
        pays.then(|| others.iter().map(|fragment| fragment.id).collect())
    }

    /// Returns how the indexes are to take in what is outside of them: those of text all of it,
    /// the others nothing while it is little.
    pub(super) fn extensions(&self) -> Vec<OptimizeOptions> {
        let mut names: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (name, parts) in &self.indexes {
            let outside = self
                .fragments
                .iter()
                .filter(|fragment| !parts.iter().any(|part| part.contains(&fragment.id)));
            let outside: usize = outside.map(|fragment| fragment.rows).sum();
            let later = parts.iter().skip(1).rev().map(|part| self.rows_in(part));
            let later: Vec<usize> = later.collect();
            let is_due = if is_text(name) {
                outside > 0
            } else {
                outside > 0 && self.is_tail_full()
            };
            if is_due {
                let merged = self.merged(outside, &later);
                names.entry(merged).or_default().push(name.clone());
            }
        }
        let options = names.into_iter();
        options
            .map(|(merged, names)| OptimizeOptions::merge(merged).index_names(names))
            .collect()
    }

    /// Returns with how many of an index's later parts new rows are merged, by the rows of these,
    /// the last one first.
    ///
    /// A few rows go to the last part while that is small as well. Once it is not, both go to the
    /// part before it, up to its limit; so a part is written anew for each thousand rows.
    fn merged(&self, outside: usize, later: &[usize]) -> usize {
        let limit = PART_ROWS.max(self.rows() / PART_SHARE);
        match *later {
            [last, ..] if last + outside <= TAIL_ROWS => 1,
            [last, before, ..] if last <= TAIL_ROWS && last + before + outside <= limit => 2,
            [last, ..] if outside > TAIL_ROWS && last + outside <= limit => 1,
            _ => 0,
        }
    }

    fn is_tail_full(&self) -> bool {
        let tail = self.fragments.iter();
        let tail = tail.filter(|fragment| self.is_in_tail(fragment.id));
        tail.map(|fragment| fragment.rows).sum::<usize>() > TAIL_ROWS
    }

    /// Tells whether a fragment is outside of any index.
    fn is_in_tail(&self, id: u32) -> bool {
        let covers = |parts: &Vec<HashSet<u32>>| parts.iter().any(|part| part.contains(&id));
        !self.indexes.values().all(covers)
    }

    fn rows_in(&self, part: &HashSet<u32>) -> usize {
        let covered = self.fragments.iter();
        let covered = covered.filter(|fragment| part.contains(&fragment.id));
        covered.map(|fragment| fragment.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a layout from (rows, deleted) of fragments 0, 1, … and the fragments of each part of
    /// the only index.
    fn layout(fragments: &[(usize, usize)], parts: &[&[u32]]) -> Layout {
        let fragments = (0..).zip(fragments);
        let fragments = fragments.map(|(id, (rows, deleted))| Fragment {
            id,
            rows: *rows,
            deleted: *deleted,
        });
        let parts = parts.iter().map(|part| part.iter().copied().collect());
        Layout {
            fragments: fragments.collect(),
            indexes: BTreeMap::from([("a".to_owned(), parts.collect())]),
        }
    }

    /// Returns how many parts each extension merges.
    fn merges(layout: &Layout) -> Vec<Option<usize>> {
        let extensions = layout.extensions();
        let merged = extensions
            .iter()
            .map(|options| options.num_indices_to_merge);
        merged.collect()
    }

    #[test]
    fn a_few_rows_stay_outside_and_many_go_in() {
        let few = layout(&[(30_000, 0), (TAIL_ROWS, 0)], &[&[0]]);
        assert_eq!(merges(&few), []);
        assert_eq!(few.apart_from_joined(), None);
        let many = layout(&[(30_000, 0), (TAIL_ROWS, 0), (1, 0)], &[&[0]]);
        assert_eq!(merges(&many), [Some(0)]);
        assert_eq!(many.apart_from_joined(), Some(vec![0]));
    }

    #[test]
    fn many_small_fragments_are_joined() {
        let mut fragments = vec![(30_000, 0)];
        fragments.extend([(1, 0); TAIL_FRAGMENTS]);
        assert_eq!(layout(&fragments, &[&[0]]).apart_from_joined(), None);
        fragments.push((1, 0));
        let many = layout(&fragments, &[&[0]]);
        assert_eq!(many.apart_from_joined(), Some(vec![0]));
        assert_eq!(merges(&many), []);
        fragments[1] = (SMALL_ROWS, 0);
        assert_eq!(layout(&fragments, &[&[0]]).apart_from_joined(), None);
        fragments.push((1, 0));
        let others = layout(&fragments, &[&[0]]).apart_from_joined();
        assert_eq!(others, Some(vec![0, 1]));
    }

    #[test]
    fn the_last_part_grows_to_its_limit_and_the_first_never() {
        let rows = [(300_000, 0), (2_000, 0), (2_000, 0)];
        assert_eq!(merges(&layout(&rows, &[&[0, 1]])), [Some(0)]);
        assert_eq!(merges(&layout(&rows, &[&[0], &[1]])), [Some(1)]);
        let rows = [(100_000, 0), (PART_ROWS, 0), (2_000, 0)];
        assert_eq!(merges(&layout(&rows, &[&[0], &[1]])), [Some(0)]);
        let rows = [(300_000, 0), (PART_ROWS, 0), (2_000, 0)];
        assert_eq!(merges(&layout(&rows, &[&[0], &[1]])), [Some(1)]);
    }

    #[test]
    fn text_takes_in_each_row_and_its_last_part_stays_small() {
        fn text(rows: &[usize], parts: &[&[u32]]) -> Vec<Option<usize>> {
            let rows: Vec<(usize, usize)> = rows.iter().map(|rows| (*rows, 0)).collect();
            let mut layout = layout(&rows, parts);
            let parts = layout.indexes.remove("a").unwrap();
            layout.indexes.insert("content_idx".to_owned(), parts);
            merges(&layout)
        }
        assert_eq!(text(&[300_000], &[&[0]]), []);
        assert_eq!(text(&[300_000, 20], &[&[0]]), [Some(0)]);
        assert_eq!(text(&[300_000, 20, 20], &[&[0], &[1]]), [Some(1)]);
        assert_eq!(text(&[300_000, TAIL_ROWS, 20], &[&[0], &[1]]), [Some(0)]);
        let parts: [&[u32]; 3] = [&[0], &[1], &[2]];
        assert_eq!(text(&[300_000, 900, 900, 20], &parts), [Some(1)]);
        assert_eq!(text(&[300_000, 900, 990, 20], &parts), [Some(2)]);
        assert_eq!(text(&[300_000, 14_900, 990, 20], &parts), [Some(0)]);
    }

    #[test]
    fn an_index_that_was_made_later_is_extended_in_its_own_way() {
        let mut layout = layout(&[(300_000, 0), (2_000, 0), (2_000, 0)], &[&[0], &[1]]);
        let later = vec![HashSet::from([0, 1])];
        layout.indexes.insert("b".to_owned(), later);
        assert_eq!(merges(&layout), [Some(0), Some(1)]);
    }

    #[test]
    fn a_fifth_that_changed_makes_all_stale() {
        assert!(!layout(&[(100_000, 20_000)], &[&[0]]).is_stale());
        assert!(layout(&[(100_000, 20_001)], &[&[0]]).is_stale());
        assert!(!layout(&[(80_000, 0), (20_000, 0)], &[&[0], &[1]]).is_stale());
        assert!(layout(&[(80_000, 1), (20_000, 0)], &[&[0], &[1]]).is_stale());
        // What was replaced as a whole is in no index.
        assert!(layout(&[(80_000, 0)], &[&[7]]).is_stale());
    }

    #[test]
    fn little_is_never_stale_and_neither_is_what_has_no_index() {
        assert!(!layout(&[(10, TAIL_ROWS)], &[&[0]]).is_stale());
        let none = Layout {
            indexes: BTreeMap::new(),
            ..layout(&[(100_000, 90_000)], &[])
        };
        assert!(!none.is_stale());
        assert_eq!(merges(&none), []);
    }
}
