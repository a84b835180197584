//! Reads of many tasks. If an answer would be over the size limit, the client asks for fewer tasks at a time.

use std::collections::HashSet;

use http::Method;
use inflight::TaskId;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::details::Details;
use crate::error::Error;
use crate::query::{Batch, Filter, Page};
use crate::transport::Call;

/// How many tasks a page has if the filter does not say: the service's own default.
const PAGE: u32 = 100;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ask {
    task_ids: Vec<String>,
    view: &'static str,
}

#[derive(Deserialize)]
struct Answer {
    tasks: Vec<Option<Details>>,
    /// The last of the ids, if the service had no room for their tasks.
    #[serde(default)]
    omitted: Vec<String>,
}

impl Client {
    /// The tasks with these ids, results and errors included. An id that is named twice is read once.
    ///
    /// One request, if its answer is within the limits of the service and of this client
    /// ([`max_body`](crate::ClientBuilder::max_body)); otherwise several, each for a part of the ids. The
    /// memory of the result is at most the number of ids times that limit. To use less memory, ask for fewer
    /// ids.
    ///
    /// # Errors
    ///
    /// A 400 if they are more than the service takes: 1000, where it is not set otherwise.
    pub async fn batch(&self, ids: &[TaskId]) -> Result<Batch, Error> {
        let mut known = HashSet::new();
        let ids: Vec<TaskId> = ids.iter().copied().filter(|id| known.insert(*id)).collect();
        let (mut left, mut size) = (ids.as_slice(), ids.len());
        let mut batch = Batch::default();
        while !left.is_empty() {
            let (asked, _) = left.split_at(size.min(left.len()));
            match self.read_part(asked).await {
                Ok(found) => {
                    let (read, after) = left.split_at(found.len().min(left.len()));
                    for (id, task) in read.iter().zip(found) {
                        match task {
                            Some(task) => batch.tasks.push(task),
                            None => batch.absent.push(*id),
                        }
                    }
                    left = after;
                    size = size.saturating_mul(2);
                }
                Err(error) if error.is_too_large() && asked.len() > 1 => size = asked.len() / 2,
                Err(error) if error.is_too_large() => {
                    batch.too_large.extend(asked);
                    left = left.get(asked.len()..).unwrap_or_default();
                    size = size.saturating_mul(2);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }

    /// The first of these tasks, as many as one answer has room for.
    async fn read_part(&self, ids: &[TaskId]) -> Result<Vec<Option<Details>>, Error> {
        let ask = Ask { task_ids: ids.iter().map(TaskId::to_string).collect(), view: "full" };
        let call = Call::new(Method::POST, "/v1/tasks:batchGet").json(&ask)?;
        let Answer { mut tasks, omitted } = self.transport.send(call).await?.parse()?;
        if tasks.len() != ids.len() {
            return Err(Error::malformed(format!("{} tasks for {} ids", tasks.len(), ids.len())));
        }
        tasks.truncate(ids.len().saturating_sub(omitted.len()));
        if tasks.is_empty() {
            return Err(Error::too_large("the answer", self.transport.bounds.max_body));
        }
        Ok(tasks)
    }

    /// One page of the tasks that match, in the order of their creation.
    ///
    /// If a page is over the limit of an answer ([`max_body`](crate::ClientBuilder::max_body)), the client
    /// asks again for half as many tasks.
    ///
    /// ```no_run
    /// # use inflight_client::{Client, Filter, State};
    /// # async fn doc(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut filter = Filter::new().state(State::Running);
    /// loop {
    ///     let page = client.list(&filter).await?;
    ///     for task in page.tasks {
    ///         println!("{} {}", task.id, task.kind);
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     filter = filter.after(next);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A 400 names what is wrong with the filter or the token; [`is_too_large`](Error::is_too_large) if one
    /// task alone is over the limit.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        let mut smaller: Option<(u32, Filter)> = None;
        loop {
            let asked = smaller.as_ref().map_or(filter, |(_, filter)| filter);
            let error = match self.transport.send(Call::get(asked.for_list("/v1/tasks"))).await {
                Ok(reply) => return reply.parse(),
                Err(error) => error,
            };
            let size = match &smaller {
                Some((size, _)) => *size,
                None => filter.size().filter(|size| *size > 0).unwrap_or(PAGE),
            };
            if !error.is_too_large() || size <= 1 {
                return Err(error);
            }
            smaller = Some((size / 2, filter.clone().page_size(size / 2)));
        }
    }
}
