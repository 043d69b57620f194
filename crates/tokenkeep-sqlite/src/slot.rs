//! One answer, from whoever finds it to the future that waits for it.

use std::future::poll_fn;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Holds one answer. Works under any executor.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
enum State<T> {
    Empty,
    Awaited(Waker),
    Full(T),
    Taken,
}

impl<T> Slot<T> {
    pub(crate) const fn new() -> Self {
        Self { state: Mutex::new(State::Empty) }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the answer and wakes who waits for it. Only the first answer counts.
    pub(crate) fn fill(&self, answer: T) {
        let mut state = self.lock();
        if let State::Full(_) | State::Taken = *state {
            return;
        }
        if let State::Awaited(waker) = mem::replace(&mut *state, State::Full(answer)) {
            drop(state);
            waker.wake();
        }
    }

    /// Whether the answer has been given.
    pub(crate) fn is_filled(&self) -> bool {
        matches!(*self.lock(), State::Full(_) | State::Taken)
    }

    /// Waits for the answer and takes it.
    pub(crate) async fn take(&self) -> T {
        poll_fn(|context| {
            let mut state = self.lock();
            match mem::replace(&mut *state, State::Taken) {
                State::Full(answer) => Poll::Ready(answer),
                State::Empty | State::Awaited(_) | State::Taken => {
                    *state = State::Awaited(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Lets the other tasks of the executor run once.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
