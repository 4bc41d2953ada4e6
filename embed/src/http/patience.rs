//! How often a request that failed is made again, and after what pause.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use super::Failure;

/// The tries that are left for a request: the pauses double from half a second, or are as long as
/// the server asks.
#[derive(Debug)]
pub struct Patience {
    failed: u32,
    retries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(5)
    }
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(500);

    /// The longest pause of our own choice.
    const LONGEST: Duration = Duration::from_secs(60);

    /// The longest pause that a server may ask for.
    const LONGEST_ASKED: Duration = Duration::from_secs(300);

    /// Makes a request that fails again at most `retries` times.
    pub fn new(retries: u32) -> Self {
        Self { failed: 0, retries }
    }

    /// Waits for as long as the server asks, or as is due; `false` where another try is in vain.
    pub fn wait(&mut self, failure: &Failure) -> bool {
        match self.pause(failure) {
            Some(pause) => {
                std::thread::sleep(pause);
                true
            }
            None => false,
        }
    }

    /// Returns how long to wait before the next try, and tells so; nothing where that is in vain.
    pub(crate) fn pause(&mut self, failure: &Failure) -> Option<Duration> {
        if failure.passes() {
            self.pause_anyway(failure)
        } else {
            None
        }
    }

    /// Does the same where there is only so much time.
    pub(crate) fn pause_within(&mut self, failure: &Failure, left: Duration) -> Option<Duration> {
        let due = failure.passes().then(|| self.due(failure)).flatten()?;
        (due < left).then(|| self.noted(failure, due))
    }

    /// Does the same for a failure of which the caller knows that it passes.
    pub(crate) fn pause_anyway(&mut self, failure: &Failure) -> Option<Duration> {
        let due = self.due(failure)?;
        Some(self.noted(failure, due))
    }

    /// Returns the pause after a failure, if one more try is left.
    fn due(&self, failure: &Failure) -> Option<Duration> {
        if self.failed >= self.retries {
            return None;
        }
        match failure.retry_after() {
            Some(asked) if asked > Self::LONGEST_ASKED => None,
            Some(asked) => Some(asked),
            None => {
                let due = Self::FIRST.saturating_mul(2_u32.saturating_pow(self.failed));
                Some(due.min(Self::LONGEST).mul_f64(jitter()))
            }
        }
    }

    fn noted(&mut self, failure: &Failure, pause: Duration) -> Duration {
        self.failed += 1;
        log::info!("{failure}; trying again in {:.1} s", pause.as_secs_f32());
        pause
    }

    /// Forgets the failures: something came through.
    pub(crate) fn restore(&mut self) {
        self.failed = 0;
    }
}

/// Returns a factor from 0.75 to 1.25, so that those whom one server failed at once do not all
/// come back at once.
fn jitter() -> f64 {
    // The standard library's only source of randomness.
    let random = RandomState::new().hash_one(0) >> 32;
    0.75 + 0.5 * random as f64 / f64::from(u32::MAX)
}

/// Reads `Retry-After`: seconds, or a date of HTTP (RFC 9110, 10.2.3).
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds_of(value)?);
    // A date that is over says that the next try may come at once.
    Some(then.duration_since(now).unwrap_or_default())
}

/// Returns the seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let rest = date.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut words = rest.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words
        .next()?
        .split(':')
        .map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_day = (1970..10_000).contains(&year) && (1..=31).contains(&day);
    if !is_day || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years begin in March here, so that the odd day is a year's last one.
    let (year, month) = match month {
        0 | 1 => (year - 1, month + 10),
        _ => (year, month - 2),
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, retry_after: Option<Duration>) -> Failure {
        Failure::Status {
            url: String::new(),
            status,
            message: None,
            code: None,
            retry_after,
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Fri, 01 Mar 2024 00:00:00 GMT", Some(1_709_251_200)),
            ("Sat, 21 Nov 2026 14:00:00 GMT", Some(1_795_269_600)),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(seconds_of(date), seconds, "{date}");
        }
    }

    #[test]
    fn a_server_says_how_long_in_seconds_or_by_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let seconds = |value| retry_after(value, now).map(|pause| pause.as_secs());
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn pauses_grow_are_as_long_as_asked_and_end() {
        let mut patience = Patience::new(3);
        for least in [375, 750, 1500] {
            let pause = patience.pause(&status(503, None)).unwrap().as_millis();
            assert!((least..least * 2).contains(&pause), "{pause}");
        }
        assert_eq!(patience.pause(&status(503, None)), None);
        patience.restore();
        let asked = Duration::from_secs(90);
        assert_eq!(patience.pause(&status(429, Some(asked))), Some(asked));
        let hour = Duration::from_secs(3600);
        assert_eq!(patience.pause(&status(429, Some(hour))), None);
        assert_eq!(patience.pause(&status(404, None)), None);
    }
}
