//! Who is told of changes: one task for each store, as long as somebody has subscribed.

use super::directory::{Directory, Stamp};
use crate::store::{RecordName, Subscription};
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How a store learns of changes by other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    /// The kernel tells, by inotify, within a millisecond; where it does not, the files are looked at.
    Told,
    /// The files are looked at every 15 ms, as on a network file system, where the kernel does not know what other
    /// machines change.
    Looking,
}

const LOOK_EVERY: Duration = Duration::from_millis(15);

pub(super) struct Watch {
    directory: Arc<Directory>,
    watching: Watching,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    subscribers: HashMap<RecordName, watch::Sender<()>>,
    task: Option<AbortHandle>,
}

impl Watch {
    pub(super) fn new(directory: Arc<Directory>, watching: Watching) -> Self {
        Self { directory, watching, state: Mutex::new(State::default()) }
    }

    pub(super) fn subscribe(this: &Arc<Self>, name: &RecordName, runtime: &Handle) -> Subscription {
        let mut state = lock(&this.state);
        let sender = state.subscribers.entry(*name).or_insert_with(|| watch::Sender::new(()));
        let receiver = sender.subscribe();
        // The task ends with the runtime that it was begun on, which need not be this one.
        if state.task.as_ref().is_none_or(AbortHandle::is_finished) {
            state.task = Some(this.begin(Arc::downgrade(this), runtime));
        }
        drop(state);
        Subscription::new(receiver, Listening { watch: Arc::clone(this), name: *name })
    }

    pub(super) fn subscriptions(&self) -> usize {
        lock(&self.state).subscribers.values().map(watch::Sender::receiver_count).sum()
    }

    /// Watches from now on, not from when the task gets its turn.
    fn begin(&self, this: Weak<Self>, runtime: &Handle) -> AbortHandle {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.watching == Watching::Told {
            match told::Inotify::of(self.directory.path()) {
                Ok(inotify) => return runtime.spawn(told::tell(inotify, this)).abort_handle(),
                Err(error) => {
                    tracing::debug!(%error, "no inotify for the token cache, its files are looked at");
                }
            }
        }
        runtime.spawn(look(this)).abort_handle()
    }

    fn tell(&self, name: &RecordName) {
        if let Some(sender) = lock(&self.state).subscribers.get(name) {
            sender.send_replace(());
        }
    }

    fn tell_all(&self) {
        lock(&self.state).subscribers.values().for_each(|sender| {
            sender.send_replace(());
        });
    }

    /// Tells of the files that are others than before; one that is looked at for the first time counts as such.
    fn look(&self, seen: &mut HashMap<RecordName, Option<Stamp>>) {
        let names: Vec<RecordName> = lock(&self.state).subscribers.keys().copied().collect();
        let Ok(open) = self.directory.current() else { return };
        seen.retain(|name, _| names.contains(name));
        for name in names {
            let stamp = open.stamp(&name);
            if seen.insert(name, stamp) != Some(stamp) {
                self.tell(&name);
            }
        }
    }
}

/// Looks at the files, until there is no store any more.
async fn look(watch: Weak<Watch>) {
    let mut seen = HashMap::new();
    loop {
        let Some(watch) = watch.upgrade() else { return };
        // The file system may take its time.
        let looked = tokio::task::spawn_blocking(move || {
            watch.look(&mut seen);
            seen
        });
        let Ok(next) = looked.await else { return };
        seen = next;
        sleep(LOOK_EVERY).await;
    }
}

/// Takes the sender away with its last subscription, and the task with the last of all.
struct Listening {
    watch: Arc<Watch>,
    name: RecordName,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = lock(&self.watch.state);
        // This subscription's own receiver is gone by now.
        if state.subscribers.get(&self.name).is_some_and(|sender| sender.receiver_count() == 0) {
            state.subscribers.remove(&self.name);
        }
        if state.subscribers.is_empty()
            && let Some(task) = state.task.take()
        {
            task.abort();
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod told {
    //! What the kernel tells.

    use super::super::directory::name_of;
    use super::{Watch, look};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
    use rustix::io::Errno;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::sync::Weak;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// Room for about a hundred events.
    const EVENT_BYTES: usize = 8 * 1024;
    /// How many are passed on until it is the turn of another task.
    const MOST_EVENTS: usize = 1024;

    pub(super) struct Inotify(AsyncFd<OwnedFd>);

    /// Whether the kernel goes on telling.
    enum Watched {
        Still,
        /// The directory is gone, or another stands in its place.
        Lost,
    }

    impl Inotify {
        pub(super) fn of(directory: &Path) -> io::Result<Self> {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let events = WatchFlags::MOVED_TO
                | WatchFlags::DELETE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR
                | WatchFlags::DONT_FOLLOW;
            inotify::add_watch(&fd, directory, events)?;
            #[allow(deprecated, reason = "its successor is unsafe for the sake of types that are no OwnedFd")]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Self(fd))
        }
    }

    /// Tells of what the kernel tells, until it has nothing more to tell; then the files are looked at.
    pub(super) async fn tell(inotify: Inotify, watch: Weak<Watch>) {
        loop {
            let Ok(mut ready) = inotify.0.readable().await else { break };
            let Some(strong) = watch.upgrade() else { return };
            match ready.try_io(|fd| pass_on(fd.get_ref(), &strong)) {
                Ok(Ok(Watched::Still)) | Err(_) => {}
                Ok(Ok(Watched::Lost) | Err(_)) => break,
            }
        }
        if let Some(watch) = watch.upgrade() {
            watch.tell_all();
        }
        drop(inotify);
        look(watch).await;
    }

    /// Reads what there is to read; nothing is an error that says so.
    fn pass_on(fd: &OwnedFd, watch: &Watch) -> io::Result<Watched> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut events = Reader::new(fd, &mut buffer);
        for _ in 0..MOST_EVENTS {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let lost =
                ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
            if event.events().intersects(lost) {
                return Ok(Watched::Lost);
            }
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                watch.tell_all();
            }
            let name = event.file_name().and_then(|name| name.to_str().ok()).and_then(name_of);
            if let Some(name) = name {
                watch.tell(&name);
            }
        }
        Ok(Watched::Still)
    }
}
