//! Several tasks with one end: the first failure stops them all.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ClientError;

/// How often watchers are told.
const TICK: Duration = Duration::from_millis(100);

/// Tasks that are done when all of them are.
#[derive(Debug)]
pub(crate) struct Crew<T> {
    tasks: JoinSet<Result<T, ClientError>>,
}

impl<T> Default for Crew<T> {
    fn default() -> Self {
        Self { tasks: JoinSet::new() }
    }
}

impl<T: Send + 'static> Crew<T> {
    pub(crate) fn add(
        &mut self,
        task: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) {
        self.tasks.spawn(task);
    }

    /// What each of them gave, in the order of their ends. Calls `tick` now and then, and
    /// once at the end.
    pub(crate) async fn all(mut self, tick: impl Fn()) -> Result<Vec<T>, ClientError> {
        let mut results = Vec::new();
        loop {
            match timeout(TICK, self.tasks.join_next()).await {
                Err(_) => tick(),
                Ok(None) => {
                    tick();
                    return Ok(results);
                }
                Ok(Some(Ok(Ok(result)))) => results.push(result),
                Ok(Some(Ok(Err(error)))) => {
                    // Whatever they hold is free again when the caller hears of it.
                    self.tasks.shutdown().await;
                    return Err(error);
                }
                Ok(Some(Err(error))) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}
