//! Lists a folder through ignore patterns, on several threads.
//!
//! Directories are the unit of work: each is read whole by one thread, which holds every
//! name against the patterns before it asks what the name is. A directory that is ignored
//! is entered only if a `!` pattern could take back something in it. Nothing is opened
//! but directories, and one that is ignored may be unreadable.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::pattern::{Matcher, Verdict};
use crate::files::entry::{Entry, join};
use crate::files::tree::{TreeError, each_name, open_beneath};

/// More threads than this only wait for each other.
const MAX_THREADS: usize = 8;

/// What one directory holds that the patterns leave, sorted by the names' bytes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) nodes: Vec<Node>,
}

/// One name in a [`Listing`].
#[derive(Debug)]
pub(super) struct Node {
    pub(super) entry: Entry,
    /// Which listing it is, if it is a directory.
    pub(super) listing: Option<usize>,
    /// Matched by the patterns; stays only if something below does not match.
    ignored: bool,
}

/// A directory to read.
#[derive(Debug)]
struct Job {
    id: usize,
    path: Vec<u8>,
    ignored: bool,
    verdict: Option<Verdict>,
}

/// Directories that a thread had too many of, for those that have none.
#[derive(Debug, Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Threads that may still come by more.
    busy: usize,
    failed: Option<TreeError>,
}

struct Walk<'w> {
    root: BorrowedFd<'w>,
    ignore: Option<&'w dyn Matcher>,
    next_id: AtomicUsize,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// How many threads wait for the queue.
    idle: AtomicUsize,
    stopped: AtomicBool,
}

/// Lists everything below `root`; the first listing is the root's.
pub(super) fn walk(
    root: BorrowedFd<'_>,
    ignore: Option<&dyn Matcher>,
) -> Result<Vec<Listing>, TreeError> {
    let first = Job { id: 0, path: Vec::new(), ignored: false, verdict: None };
    let walk = Walk {
        root,
        ignore,
        next_id: AtomicUsize::new(1),
        queue: Mutex::new(Queue { jobs: vec![first], ..Queue::default() }),
        changed: Condvar::new(),
        idle: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let mut found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| walk.work())).collect();
        let mut found = walk.work();
        for other in others {
            found.extend(other.join().expect("a walking thread does not panic"));
        }
        found
    });
    let queue = walk.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = queue.failed {
        return Err(error);
    }
    found.sort_unstable_by_key(|(id, _)| *id);
    let mut listings: Vec<Listing> = found.into_iter().map(|(_, listing)| listing).collect();
    drop_empty_ignored(&mut listings);
    Ok(listings)
}

/// Removes ignored directories in which nothing was taken back.
fn drop_empty_ignored(listings: &mut [Listing]) {
    let mut lives = vec![false; listings.len()];
    // A directory gets its number after its parent, so the deepest come first here.
    for id in (0..listings.len()).rev() {
        let nodes = &mut listings[id].nodes;
        nodes.retain(|node| !node.ignored || node.listing.is_some_and(|below| lives[below]));
        lives[id] = !nodes.is_empty();
    }
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads directories until there are no more.
    fn work(&self) -> Vec<(usize, Listing)> {
        let mut done = Vec::new();
        while let Some(first) = self.take() {
            let mut own = vec![first];
            while let Some(job) = own.pop().filter(|_| !self.stopped.load(Ordering::Relaxed)) {
                match self.read(&job) {
                    Ok((mut listing, below)) => {
                        own.extend(self.numbered(&mut listing, below));
                        done.push((job.id, listing));
                    }
                    Err(error) => {
                        self.stopped.store(true, Ordering::Relaxed);
                        self.lock().failed.get_or_insert(error);
                    }
                }
                if own.len() > 1 && self.idle.load(Ordering::Relaxed) > 0 {
                    // The first ones are the highest, and have the most below them.
                    let half = own.len() / 2;
                    self.lock().jobs.extend(own.drain(..half));
                    self.changed.notify_all();
                }
            }
            self.lock().busy -= 1;
            self.changed.notify_all();
        }
        done
    }

    /// A directory that another thread left; none once nobody can leave any more.
    fn take(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.failed.is_some() {
                return None;
            }
            if let Some(job) = queue.jobs.pop() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Numbers the directories in `listing`, after the one that they are in.
    fn numbered(&self, listing: &mut Listing, mut jobs: Vec<Job>) -> Vec<Job> {
        let dirs = listing.nodes.iter_mut().filter_map(|node| node.listing.as_mut());
        for (below, job) in dirs.zip(&mut jobs) {
            job.id = self.next_id.fetch_add(1, Ordering::Relaxed);
            *below = job.id;
        }
        jobs
    }

    /// One directory, and jobs for those in it, in the order of its nodes that are
    /// directories to enter.
    fn read(&self, job: &Job) -> Result<(Listing, Vec<Job>), TreeError> {
        let mut listing = Listing::default();
        let mut jobs = Vec::new();
        let failed = |doing, path: &[u8], errno| match errno {
            // It went away since its parent was listed, as if it had never been.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP if !path.is_empty() => Ok(()),
            Errno::ACCESS if job.ignored => Ok(()),
            _ => Err(TreeError::io(doing, path, errno)),
        };
        let opened = open_beneath(self.root, &job.path, OFlags::RDONLY | OFlags::DIRECTORY);
        let dir = match opened {
            Ok(dir) => dir,
            Err(errno) => return failed("list", &job.path, errno).map(|()| (listing, jobs)),
        };
        let mut candidates = Vec::new();
        each_name(&dir, |name, kind| {
            candidates.extend(self.candidate(job, name, kind));
        })
        .or_else(|errno| failed("list", &job.path, errno))?;
        candidates.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for candidate in candidates {
            let entry = match Entry::at(dir.as_fd(), &candidate.name) {
                Ok(entry) => entry,
                Err(_) if candidate.ignored => continue,
                Err(errno) => {
                    failed("look at", &join(&job.path, &candidate.name), errno)?;
                    continue;
                }
            };
            if candidate.ignored && !entry.meta.is_dir() {
                continue;
            }
            let node = Self::node(entry, candidate.ignored);
            if node.listing.is_some() {
                let path = join(&job.path, &candidate.name);
                let Candidate { ignored, verdict, .. } = candidate;
                jobs.push(Job { id: 0, path, ignored, verdict });
            }
            listing.nodes.push(node);
        }
        Ok((listing, jobs))
    }

    /// The node that an entry becomes.
    fn node(mut entry: Entry, ignored: bool) -> Node {
        // Whatever owns the files here, in an image they are root's.
        (entry.meta.uid, entry.meta.gid) = (0, 0);
        let listing = entry.meta.is_dir().then_some(0);
        Node { entry, listing, ignored }
    }

    /// Holds a name against the patterns; none if it need not be looked at.
    fn candidate(&self, job: &Job, name: &[u8], kind: FileType) -> Option<Candidate> {
        let Some(ignore) = self.ignore else {
            return Some(Candidate { name: name.to_vec(), ignored: false, verdict: None });
        };
        let path = join(&job.path, name);
        let path = String::from_utf8_lossy(&path);
        let verdict = ignore.check(&path, job.verdict.as_ref());
        let ignored = verdict.matched;
        let may_be_dir = matches!(kind, FileType::Directory | FileType::Unknown);
        if ignored && !(may_be_dir && ignore.may_except_below(&path)) {
            return None;
        }
        Some(Candidate { name: name.to_vec(), ignored, verdict: Some(verdict) })
    }
}

/// A name that the patterns leave, or that may have something below that they leave.
struct Candidate {
    name: Vec<u8>,
    ignored: bool,
    verdict: Option<Verdict>,
}
