//! Two futures for one task, of which one is seldom what the task was woken for.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What came first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First<M, A> {
    /// The main future.
    Main(M),
    /// The one aside.
    Aside(A),
}

/// Polls `main` whenever the task is woken, and `aside` only when it was `aside` that has woken it: then a task that is woken
/// for `main` alone does nothing for the other.
pub(super) async fn with_aside<M, A>(
    mut main: impl FnMut(&mut Context<'_>) -> Poll<M>,
    aside: impl Future<Output = A>,
) -> First<M, A> {
    let mut aside = pin!(aside);
    let mut bell: Option<(Arc<Bell>, Waker)> = None;
    poll_fn(|context| {
        if let Poll::Ready(ended) = main(context) {
            return Poll::Ready(First::Main(ended));
        }
        let hung = bell.take().filter(|(bell, _)| bell.task.will_wake(context.waker()));
        let (bell, waker) = bell.insert(hung.unwrap_or_else(|| Bell::hang(context.waker())));
        if !bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        aside.as_mut().poll(&mut Context::from_waker(waker)).map(First::Aside)
    })
    .await
}

/// Wakes the task, and says that it did.
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// One that has rung, so that what hears it is polled for the first time.
    fn hang(task: &Waker) -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self { rung: AtomicBool::new(true), task: task.clone() });
        (Arc::clone(&bell), Waker::from(bell))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::oneshot;

    /// A task that counts how often it is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
            future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
        }

        fn wakes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_is_aside_is_polled_when_it_has_woken_the_task_and_not_before() {
        let polls = AtomicUsize::new(0);
        let (tell, mut told) = oneshot::channel::<u8>();
        let aside = poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut told).poll(context)
        });
        let mut future = pin!(with_aside(|_| Poll::<()>::Pending, aside));
        let task = Arc::new(Task::default());
        for _ in 0..3 {
            assert_eq!(task.poll(future.as_mut()), Poll::Pending);
        }
        assert_eq!((polls.load(Ordering::Relaxed), task.wakes()), (1, 0));
        tell.send(7).unwrap();
        assert_eq!(task.wakes(), 1);
        assert_eq!(task.poll(future), Poll::Ready(First::Aside(Ok(7))));
    }

    #[test]
    fn what_is_aside_wakes_the_task_that_has_polled_last() {
        let (tell, told) = oneshot::channel::<u8>();
        let mut future = pin!(with_aside(|_| Poll::<()>::Pending, told));
        let (before, task) = (Arc::new(Task::default()), Arc::new(Task::default()));
        assert_eq!(before.poll(future.as_mut()), Poll::Pending);
        assert_eq!(task.poll(future.as_mut()), Poll::Pending);
        tell.send(7).unwrap();
        assert_eq!((before.wakes(), task.wakes()), (0, 1));
        assert_eq!(task.poll(future), Poll::Ready(First::Aside(Ok(7))));
    }

    #[test]
    fn the_main_future_comes_first() {
        let future = pin!(with_aside(|_| Poll::Ready(1), std::future::ready(2)));
        assert_eq!(Arc::new(Task::default()).poll(future), Poll::Ready(First::Main(1)));
    }
}
