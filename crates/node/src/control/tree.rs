//! `$CONTROL/...`: what clients ask of the broker itself. It is never routed; one thread answers, in order, so that what
//! takes its time (a password hash) holds up nobody but those who ask.

use super::Control;
use ravelin_broker::Observed;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Requests that may wait for the thread.
const REQUESTS_MAX: usize = 1024;

/// Answers requests.
pub(crate) type Answerer = Box<dyn FnMut(&Control, Observed) + Send>;

enum Message {
    Request(Box<Observed>),
    Stop,
}

/// Where shards put requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Requests(SyncSender<Message>);

/// What the thread will read, until it runs, and the thread after that.
pub(crate) struct Tree {
    requests: Requests,
    receiver: Mutex<Option<Receiver<Message>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Requests {
    /// Hands a request over; false if too many wait already.
    pub fn push(&self, request: Box<Observed>) -> bool {
        !matches!(self.0.try_send(Message::Request(request)), Err(TrySendError::Full(_)))
    }
}

impl Tree {
    pub fn new() -> Tree {
        let (sender, receiver) = sync_channel(REQUESTS_MAX);
        Tree { requests: Requests(sender), receiver: Mutex::new(Some(receiver)), thread: Mutex::new(None) }
    }

    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Ends the thread, after the request that it works on.
    pub fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without a thread nobody reads, and a full queue would be waited for.
        if let Some(thread) = thread {
            let _ = self.requests.0.send(Message::Stop);
            let _ = thread.join();
        }
    }
}

impl Control {
    /// Says who answers what is published to `$CONTROL/...`; once.
    pub(crate) fn answer_tree(&self, mut answerer: Answerer) -> std::io::Result<()> {
        let tree = &self.0.tree;
        let Some(receiver) = tree.receiver.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Err(std::io::Error::other("$CONTROL is answered already"));
        };
        let control = self.clone();
        let thread = std::thread::Builder::new().name("ravelin-dynsec".into()).spawn(move || {
            while let Ok(Message::Request(request)) = receiver.recv() {
                answerer(&control, *request);
            }
        })?;
        *tree.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }
}
