//! Some pods of one recipe, and the rolling update that replaces them: `maxSurge: 1`, `maxUnavailable: 0`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Rules,
    balancer::Balancer,
    diary::Diary,
    pod::{Pod, Recipe, Surroundings},
};

/// How long a pod may take until it is ready, beside the time that it must be.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How much longer than its grace period a pod may take to end.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// How often the controllers look.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// All pods, also those that have ended.
#[derive(Debug)]
pub struct Deployment {
    around: Surroundings,
    recipe: Recipe,
    /// The pods that are wanted, oldest first.
    pods: Vec<Pod>,
    /// Those that were deleted.
    deleted: Vec<Pod>,
}

impl Deployment {
    /// Starts pods and waits until the balancer knows them all.
    ///
    /// # Errors
    /// When one does not become ready.
    pub async fn start(rules: Rules, recipe: Recipe, replicas: usize, diary: &Diary) -> Result<Self, String> {
        let balancer = Arc::new(Balancer::new(rules.endpoint_lag));
        let around = Surroundings { rules, balancer, diary: diary.clone() };
        let mut deployment = Self { around, recipe, pods: Vec::new(), deleted: Vec::new() };
        for _ in 0..replicas {
            deployment.add();
        }
        let balancer = deployment.balancer();
        wait("all pods are endpoints", READY_PATIENCE + rules.endpoint_lag, || {
            deployment.check_alive()?;
            Ok(balancer.known(Instant::now()).len() == replicas)
        })
        .await?;
        Ok(deployment)
    }

    /// Who sends connections to the pods.
    pub fn balancer(&self) -> Arc<Balancer> {
        Arc::clone(&self.around.balancer)
    }

    /// Replaces the oldest pods, one by one, by pods of another program, and waits until they have ended.
    ///
    /// A pod that was deleted is not waited for before the next one is started: Kubernetes does not count it any more. So
    /// only `minReadySeconds` keeps the drain of one pod from running into that of the next.
    ///
    /// # Errors
    /// When a pod does not become ready, or does not end.
    pub async fn roll(&mut self, program: &Path, replaced: usize) -> Result<(), String> {
        self.recipe = self.recipe.with(program);
        for _ in 0..replaced.min(self.pods.len()) {
            self.add();
            let min_ready = self.around.rules.min_ready;
            wait("a new pod is available", READY_PATIENCE + min_ready, || {
                self.check_alive()?;
                Ok(self.pods.iter().all(|pod| pod.ready_for().is_some_and(|time| time >= min_ready)))
            })
            .await?;
            let oldest = self.pods.remove(0);
            oldest.delete();
            self.deleted.push(oldest);
        }
        let patience = self.around.rules.grace + END_PATIENCE;
        wait("deleted pods end", patience, || Ok(self.deleted.iter().all(Pod::has_ended))).await
    }

    /// Reads of the log that all pods together have asked Redis for.
    pub fn reads(&self) -> u64 {
        self.pods.iter().chain(&self.deleted).map(Pod::reads).sum()
    }

    /// How many pods there have been.
    pub fn pods_ever(&self) -> usize {
        self.pods.len() + self.deleted.len()
    }

    fn add(&mut self) {
        self.pods.push(Pod::start(self.pods_ever() + 1, &self.recipe, &self.around));
    }

    fn check_alive(&self) -> Result<(), String> {
        let crashed = self.pods.iter().find(|pod| pod.has_ended());
        crashed.map_or(Ok(()), |pod| Err(format!("the pod at {} ended by itself", pod.address)))
    }
}

/// Waits for a condition.
pub(crate) async fn wait(
    what: &str,
    patience: Duration,
    mut holds: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > patience {
            return Err(format!("{what}: not within {patience:?}"));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}
