//! Orders to shards. They have a queue of their own, which a shard looks at before its sockets, before the messages of
//! its sisters, and between two sockets that it reads.

use super::{Changed, Control};
use crate::policy::Policy;
use crate::shard::Shard;
use ravelin_broker::{Broker, Now};
use ravelin_event::Principal;
use ravelin_mqtt::ReasonCode;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a shard is told.
pub(crate) enum Order {
    /// Go by a new policy.
    Policy(Arc<Policy>, Changed),
    /// Do this now. It must be short: what it takes, every client of the shard waits.
    Run(Box<dyn FnOnce(&mut ShardView<'_>) + Send>),
}

/// The shard has ended, or did not survive the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node stops, or one of its shards has failed")]
pub struct Unavailable;

/// A shard, as an order sees it.
pub struct ShardView<'a> {
    pub(crate) shard: &'a mut Shard,
}

/// A connection with a session, as an order sees it.
pub struct ConnInfo<'a> {
    /// Who it is.
    pub principal: &'a Principal,
    /// Where it is.
    pub address: SocketAddr,
    /// The listener, as an index in the configuration's order.
    pub listener: u16,
    /// The end-entity certificate that it showed, in DER.
    pub certificate: Option<&'a [u8]>,
}

impl ShardView<'_> {
    /// The time of the shard's turn.
    pub fn now(&self) -> Now {
        self.shard.now
    }

    /// Which shard it is.
    pub fn id(&self) -> u16 {
        self.shard.id
    }

    /// Its core.
    pub fn broker(&mut self) -> &mut Broker {
        &mut self.shard.broker
    }

    /// Ends the connections that a revocation meets; returns how many.
    pub fn disconnect_revoked(&mut self, revocation: &ravelin_protect::Revocation) -> usize {
        self.shard.disconnect_revoked(revocation)
    }

    /// Ends the connections that `is_meant` picks, with `reason` for those that can be told; returns how many.
    pub fn disconnect_where(
        &mut self,
        reason: ReasonCode,
        detail: &str,
        is_meant: impl FnMut(ConnInfo<'_>) -> bool,
    ) -> usize {
        self.shard.disconnect_where(reason, detail, is_meant)
    }
}

impl Control {
    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.0.mailboxes.len() as u16
    }

    /// Has `question` run on a shard, before it reads another socket.
    pub async fn ask<T: Send + 'static>(
        &self,
        shard: u16,
        question: impl FnOnce(&mut ShardView<'_>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.post(shard, question).await.map_err(|_| Unavailable)
    }

    /// The same on all shards at once; the answers in their order.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut ShardView<'_>) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Unavailable> {
        let mut answers = Vec::new();
        for answer in self.post_all(question) {
            answers.push(answer.await.map_err(|_| Unavailable)?);
        }
        Ok(answers)
    }

    /// [`Control::ask`] for a thread that may wait.
    pub fn blocking_ask<T: Send + 'static>(
        &self,
        shard: u16,
        question: impl FnOnce(&mut ShardView<'_>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.post(shard, question).blocking_recv().map_err(|_| Unavailable)
    }

    /// [`Control::ask_all`] for a thread that may wait.
    pub fn blocking_ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut ShardView<'_>) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Unavailable> {
        let answers = self.post_all(question).into_iter();
        answers.map(|answer| answer.blocking_recv().map_err(|_| Unavailable)).collect()
    }

    pub(super) fn post<T: Send + 'static>(
        &self,
        shard: u16,
        question: impl FnOnce(&mut ShardView<'_>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        if let Some(mailbox) = self.0.mailboxes.get(usize::from(shard)) {
            mailbox.order(Order::Run(Box::new(move |view| {
                // Whoever asked may have gone.
                let _ = answer.send(question(view));
            })));
        }
        answered
    }

    fn post_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut ShardView<'_>) -> T + Send + Sync + 'static,
    ) -> Vec<oneshot::Receiver<T>> {
        let question = Arc::new(question);
        let ask = |shard| {
            let question = Arc::clone(&question);
            self.post(shard, move |view| question(view))
        };
        (0..self.shards()).map(ask).collect()
    }
}
