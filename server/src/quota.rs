//! How much one caller, and all together, may use at a time: tasks, bytes of payloads, streams, connections,
//! and requests a second.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// How much may be used at a time. `None`: any amount; 0: nothing.
///
/// ```
/// use inflight_server::{Options, Quota};
///
/// let quota = Quota { tasks: Some(10_000), requests_per_second: Some(500), ..Quota::default() };
/// let options = Options { quota, ..Options::default() };
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Tasks that were created over HTTP and are still in the store, ended or not.
    pub tasks: Option<u64>,
    /// Bytes of the results and errors of these tasks.
    pub payload_bytes: Option<u64>,
    /// Streams of events.
    pub streams: Option<u64>,
    /// Connections to [`serve`](crate::serve) on which there were requests.
    pub connections: Option<u64>,
    /// Requests a second. As many may come at once after a second without any.
    pub requests_per_second: Option<u64>,
}

impl Quota {
    /// Reads `tasks=…,bytes=…,streams=…,connections=…,rate=…`, of which each may be missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut quota = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=')?;
            let field = match name {
                "tasks" => &mut quota.tasks,
                "bytes" => &mut quota.payload_bytes,
                "streams" => &mut quota.streams,
                "connections" => &mut quota.connections,
                "rate" => &mut quota.requests_per_second,
                _ => return None,
            };
            let value = value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))?;
            if field.replace(value).is_some() {
                return None;
            }
        }
        Some(quota)
    }

    fn of(&self, what: Limit) -> Option<u64> {
        match what {
            Limit::Tasks => self.tasks,
            Limit::PayloadBytes => self.payload_bytes,
            Limit::Streams => self.streams,
            Limit::Connections => self.connections,
            Limit::Requests => self.requests_per_second,
        }
    }
}

/// What there is a limit of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Tasks,
    PayloadBytes,
    Streams,
    Connections,
    Requests,
}

impl Limit {
    /// What is counted, but for requests, which are not held.
    const HELD: usize = 4;

    fn name(self) -> &'static str {
        match self {
            Limit::Tasks => "tasks",
            Limit::PayloadBytes => "bytes of payloads",
            Limit::Streams => "streams",
            Limit::Connections => "connections",
            Limit::Requests => "requests a second",
        }
    }

    /// The problem of a caller who has all that one may have.
    pub(crate) fn quota_slug(self) -> &'static str {
        match self {
            Limit::Tasks => "quota-tasks",
            Limit::PayloadBytes => "quota-payload-bytes",
            Limit::Streams => "quota-streams",
            Limit::Connections => "quota-connections",
            Limit::Requests => "quota-requests",
        }
    }

    /// The problem of a service that has all that it may have.
    pub(crate) fn limit_slug(self) -> &'static str {
        match self {
            Limit::Tasks => "limit-tasks",
            Limit::PayloadBytes => "limit-payload-bytes",
            Limit::Streams => "limit-streams",
            Limit::Connections => "limit-connections",
            Limit::Requests => "limit-requests",
        }
    }

    /// When it is worth to ask again.
    fn retry_after(self) -> Duration {
        match self {
            Limit::Tasks | Limit::PayloadBytes => Duration::from_secs(10),
            Limit::Streams | Limit::Connections => Duration::from_secs(2),
            Limit::Requests => Duration::from_secs(1),
        }
    }
}

/// What somebody uses.
#[derive(Default)]
pub(crate) struct Account {
    held: [AtomicU64; Limit::HELD],
    /// When the next request would come if all had come evenly, in nanoseconds of [`now`].
    next: AtomicU64,
}

impl Account {
    /// Takes so much, unless more than `limit` would be held then.
    fn take(self: &Arc<Self>, what: Limit, amount: u64, limit: Option<u64>) -> Result<Hold, u64> {
        let limit = limit.unwrap_or(u64::MAX);
        if let Some(held) = self.held.get(what as usize) {
            // Relaxed, both: a number that nothing else is read by. Pairs with `Hold::drop`.
            let more = |held: u64| held.checked_add(amount).filter(|held| *held <= limit);
            let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
            let _ = taken.map_err(|_| limit)?;
        }
        Ok(Hold { account: Arc::clone(self), what, amount })
    }

    /// Counts a request, or says how long it is too early. As many may come at once as come in a second.
    fn pass(&self, per_second: u64, now: u64) -> Result<(), Duration> {
        const SECOND: u64 = 1_000_000_000;
        let Some(interval) = SECOND.checked_div(per_second) else { return Err(Duration::from_secs(1)) };
        let after = |next: u64| next.max(now).saturating_add(interval);
        // Relaxed, both: a number that nothing else is read by.
        let passed = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            Some(after(next)).filter(|after| after - now <= SECOND)
        });
        passed.map(drop).map_err(|next| Duration::from_nanos(after(next) - now - SECOND))
    }

    /// Whether nothing is held but by whoever asks, and no request was counted lately.
    pub(crate) fn is_at_rest(self: &Arc<Self>) -> bool {
        // Relaxed: an account that is thrown away a moment too late or too early makes little difference.
        Arc::strong_count(self) == 1 && self.next.load(Ordering::Relaxed) <= now()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.held).finish()
    }
}

/// Nanoseconds since the first time that this was asked.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What is taken from an account, and given back when this is dropped.
#[derive(Debug)]
struct Hold {
    account: Arc<Account>,
    what: Limit,
    amount: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.account.held.get(self.what as usize) {
            // Relaxed: pairs with `Account::take`, and nothing else is read by it.
            held.fetch_sub(self.amount, Ordering::Relaxed);
        }
    }
}

/// What a caller uses, counted as theirs and among all; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    of_caller: Option<Hold>,
    _of_all: Hold,
}

impl Charge {
    /// Whether it is of this caller.
    pub(crate) fn is_of(&self, caller: &Caller) -> bool {
        match (&self.of_caller, caller.account()) {
            (Some(hold), Some(account)) => Arc::ptr_eq(&hold.account, account),
            (None, None) => true,
            _ => false,
        }
    }
}

/// The limits of a service, and what all use together.
#[derive(Debug)]
pub(crate) struct Quotas {
    each: Quota,
    total: Quota,
    all: Arc<Account>,
}

impl Quotas {
    pub(crate) fn new(each: Quota, total: Quota) -> Self {
        Self { each, total, all: Arc::default() }
    }

    fn limit(&self, caller: &Caller, what: Limit) -> Option<u64> {
        caller.quota().and_then(|own| own.of(what)).or_else(|| self.each.of(what))
    }

    /// Whether there is a limit of it at all, for this caller or for all.
    pub(crate) fn limits(&self, caller: &Caller, what: Limit) -> bool {
        self.total.of(what).is_some() || (caller.account().is_some() && self.limit(caller, what).is_some())
    }

    /// Takes so much, for as long as the charge is kept.
    pub(crate) fn take(&self, caller: &Caller, what: Limit, amount: u64) -> Result<Charge, Problem> {
        let take = |account: &Arc<Account>| account.take(what, amount, self.limit(caller, what));
        let of_caller = caller.account().map(take).transpose();
        let of_caller = of_caller.map_err(|limit| over_quota(what, limit, what.retry_after()))?;
        let of_all = self.all.take(what, amount, self.total.of(what));
        let of_all = of_all.map_err(|limit| over_limit(what, limit, what.retry_after()))?;
        Ok(Charge { of_caller, _of_all: of_all })
    }

    /// Counts a request. One that is over the caller's quota is none of all.
    pub(crate) fn pass(&self, caller: &Caller) -> Result<(), Problem> {
        let limit = self.limit(caller, Limit::Requests);
        if let (Some(account), Some(limit)) = (caller.account(), limit) {
            account.pass(limit, now()).map_err(|wait| over_quota(Limit::Requests, limit, wait))?;
        }
        if let Some(limit) = self.total.requests_per_second {
            self.all.pass(limit, now()).map_err(|wait| over_limit(Limit::Requests, limit, wait))?;
        }
        Ok(())
    }
}

fn over_quota(what: Limit, limit: u64, wait: Duration) -> Problem {
    let detail = format!("the caller may have {limit} {} at the most", what.name());
    Problem::new(Kind::OverQuota(what), detail).with_retry_after(rounded_up(wait))
}

fn over_limit(what: Limit, limit: u64, wait: Duration) -> Problem {
    let detail = format!("all callers together may have {limit} {} at the most", what.name());
    Problem::new(Kind::OverLimit(what), detail).with_retry_after(rounded_up(wait))
}

/// `Retry-After` has whole seconds.
fn rounded_up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_one_an_interval() {
        let account = Account::default();
        let begin = 5_000 * MILLI;
        for _ in 0..10 {
            assert_eq!(account.pass(10, begin), Ok(()));
        }
        assert_eq!(account.pass(10, begin), Err(Duration::from_millis(100)));
        assert_eq!(account.pass(10, begin + 40 * MILLI), Err(Duration::from_millis(60)), "not counted");
        assert_eq!(account.pass(10, begin + 100 * MILLI), Ok(()));
        assert_eq!(account.pass(10, begin + 100 * MILLI), Err(Duration::from_millis(100)));
        for _ in 0..10 {
            assert_eq!(account.pass(10, begin + 9_000 * MILLI), Ok(()));
        }
        assert!(account.pass(10, begin + 9_000 * MILLI).is_err(), "what is not used is not saved up");
        assert!(account.pass(0, begin).is_err());
        assert_eq!(Account::default().pass(u64::MAX, begin), Ok(()));
    }

    #[test]
    fn what_is_taken_is_given_back_and_never_more_is_held() {
        let account = Arc::new(Account::default());
        let first = account.take(Limit::Streams, 2, Some(3)).unwrap();
        assert_eq!(account.take(Limit::Streams, 2, Some(3)).err(), Some(3));
        assert_eq!(account.take(Limit::Streams, u64::MAX, None).err(), Some(u64::MAX), "no overflow");
        assert!(account.take(Limit::Connections, 3, Some(3)).is_ok(), "each is counted for itself");
        assert!(!account.is_at_rest());
        drop(first);
        assert!(account.take(Limit::Streams, 3, Some(3)).is_ok());
        assert!(account.is_at_rest());
    }

    #[test]
    fn what_all_may_have_is_not_held_for_a_caller_who_may_not() {
        let total = Quota { tasks: Some(1), ..Quota::default() };
        let quotas = Quotas::new(Quota::default(), total);
        let charge = quotas.take(&Caller::ANYONE, Limit::Tasks, 1).unwrap();
        let refused = quotas.take(&Caller::ANYONE, Limit::Tasks, 1).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.slug()), (503, "limit-tasks"));
        drop(charge);
        assert!(quotas.take(&Caller::ANYONE, Limit::Tasks, 1).is_ok());
    }

    #[test]
    fn a_quota_is_read_strictly() {
        let quota = Quota { tasks: Some(1), streams: Some(0), ..Quota::default() };
        assert_eq!(Quota::parse("tasks=1,streams=0"), Some(quota));
        let all = Quota::parse("tasks=1,bytes=2,streams=3,connections=4,rate=5").unwrap();
        assert_eq!((all.payload_bytes, all.requests_per_second), (Some(2), Some(5)));
        for wrong in ["", "tasks", "tasks=", "tasks=-1", "tasks=+1", "tasks=1,", "tasks=1,tasks=1", "cats=1"]
        {
            assert_eq!(Quota::parse(wrong), None, "{wrong}");
        }
    }
}
