//! The thread that the reporters of a client's workers run on. No worker runs on it: a worker that computes
//! without an `.await` blocks its thread, and a reporter on the same thread would lose the lease (I10).
//!
//! A client with workers has one such thread. It starts with the first worker and ends with the last
//! reporter. It has its own connections, because a connection depends on the runtime that made it.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::client::Client;

/// The thread of a client's reporters, while it runs.
#[derive(Debug, Default)]
pub(crate) struct Reporters(Mutex<Weak<Thread>>);

#[derive(Debug)]
pub(crate) struct Thread {
    client: Client,
    runtime: Handle,
    /// Ends the thread when it is dropped: nothing is ever sent.
    _running: oneshot::Sender<()>,
}

impl Reporters {
    /// The thread for the reporters of `client`, which is started if there is none.
    pub(crate) fn thread(&self, client: &Client) -> io::Result<Arc<Thread>> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = slot.upgrade() {
            return Ok(thread);
        }
        let thread = Arc::new(Thread::start(client.apart())?);
        *slot = Arc::downgrade(&thread);
        Ok(thread)
    }
}

impl Thread {
    fn start(client: Client) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        let run = move || {
            let _ = runtime.block_on(ended);
        };
        std::thread::Builder::new().name("inflight-report".into()).spawn(run)?;
        Ok(Self { client, runtime: handle, _running: running })
    }

    /// The same client, with the connections of this thread.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs `work` on the thread, which lives for as long as that takes.
    pub(crate) fn run(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let thread = Arc::clone(self);
        self.runtime.spawn(async move {
            work.await;
            drop(thread);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_client_has_one_thread_which_ends_with_its_last_reporter() {
        let (client, reporters) = (Client::new("http://127.0.0.1:1").expect("good"), Reporters::default());
        let thread = reporters.thread(&client).expect("started");
        let again = reporters.thread(&client).expect("it runs");
        assert!(Arc::ptr_eq(&thread, &again));
        // It is dropped when the thread's runtime is.
        let (held, ended) = mpsc::channel::<()>();
        thread.runtime.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let (finish, finished) = oneshot::channel::<()>();
        thread.run(async move { drop(finished.await) });
        drop((thread, again));
        assert!(reporters.0.lock().expect("no panic").upgrade().is_some(), "a reporter runs");
        assert_eq!(ended.try_recv(), Err(mpsc::TryRecvError::Empty));
        drop(finish);
        assert_eq!(ended.recv(), Err(mpsc::RecvError), "the thread has ended");
        assert!(reporters.0.lock().expect("no panic").upgrade().is_none());
        assert!(reporters.thread(&client).is_ok(), "and another one is started when it is needed");
    }
}
