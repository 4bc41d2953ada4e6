//! Work on many things by a few threads, with the results in order.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` for each of `items` by at most `threads` threads; returns the results in the order
/// of the items.
pub(crate) fn side_by_side<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let count = items.len();
    let waiting = Mutex::new(items.into_iter().enumerate());
    let results: Mutex<Vec<Option<R>>> = Mutex::new((0..count).map(|_| None).collect());
    let run = || loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next();
        let Some((at, item)) = next else {
            return;
        };
        let result = work(item);
        results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        for threads in [1, 4, 200] {
            let doubled = side_by_side(items.clone(), threads, |item| item * 2);
            assert_eq!(doubled, (0..100).map(|item| item * 2).collect::<Vec<_>>());
        }
        assert!(side_by_side(Vec::<u8>::new(), 4, |_| ()).is_empty());
    }
}
