//! The thread that the reporters of a client's workers run on. It is theirs alone: a worker that computes and
//! never waits would keep any thread that it shares with its reporter, and so lose its lease (I10).
//!
//! There is one for each client that has workers. It begins with the first worker and ends with the last
//! reporter; its connections are its own, as a connection is driven by the runtime that made it.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::client::Client;

/// Where a client finds the thread of its reporters, while there is one.
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
