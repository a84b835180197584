//! The other end of a connection: where it is, and who has sent requests through it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::Caller;
use crate::problem::Problem;
use crate::quota::{Charge, Limit, Quotas};

/// Goes with each request. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) address: SocketAddr,
    /// One for each caller, until the connection ends.
    charges: Arc<Mutex<Vec<Charge>>>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, charges: Arc::default() }
    }

    /// Counts the connection as one of this caller's.
    pub(crate) fn enter(&self, quotas: &Quotas, caller: &Caller) -> Result<(), Problem> {
        if !quotas.limits(caller, Limit::Connections) {
            return Ok(());
        }
        let mut charges = self.charges.lock().unwrap_or_else(PoisonError::into_inner);
        if !charges.iter().any(|charge| charge.is_of(caller)) {
            charges.push(quotas.take(caller, Limit::Connections, 1)?);
        }
        Ok(())
    }
}
