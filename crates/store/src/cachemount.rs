//! Directories that outlive steps: `cache-mounts-v1/<hash of id>/<n>/data`.
//!
//! A cache has instances, numbered from 0, each with a `lock`. Who shares takes the first
//! instance that nobody has alone; who wants one of its own takes the first that nobody
//! has, and makes one if there is none; who locks does too, but waits rather than make
//! another. These are BuildKit's rules, across processes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bakehouse_model::Digest;
use bakehouse_model::op::Sharing;

use crate::lock::unique_name;
use crate::remove::remove_tree;
use crate::store::{Store, StoreError};

/// An instance of a cache, in use as long as this lives.
#[derive(Debug)]
pub struct CacheMount {
    folder: PathBuf,
    _lock: File,
}

/// A cache that was used, and what is known without taking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCache {
    /// Its name.
    pub id: String,
    /// The directory of its first instance.
    pub data: PathBuf,
    /// How many instances it has.
    pub instances: usize,
    /// When something at the top of that directory last changed.
    pub used: Option<SystemTime>,
}

impl Store {
    /// Takes an instance of the cache `id`. Waits if all are taken and `sharing` says so.
    pub fn cache_mount(&self, id: &str, sharing: Sharing) -> Result<CacheMount, StoreError> {
        if let Some(mount) = self.try_cache_mount(id, sharing)? {
            return Ok(mount);
        }
        let (folder, lock) = self.cache_instance(id, 0)?;
        lock.lock().map_err(StoreError::io("lock", &folder))?;
        Ok(CacheMount { folder, _lock: lock })
    }

    /// Takes an instance of the cache `id` that is free; none if there is none and `sharing`
    /// allows no other.
    pub fn try_cache_mount(
        &self,
        id: &str,
        sharing: Sharing,
    ) -> Result<Option<CacheMount>, StoreError> {
        for number in 0_u32.. {
            let exists = number == 0 || self.cache_folder(id, number).is_dir();
            if !exists && sharing == Sharing::Locked {
                break;
            }
            let (folder, lock) = self.cache_instance(id, number)?;
            let taken = match sharing {
                Sharing::Shared => lock.try_lock_shared(),
                Sharing::Private | Sharing::Locked => lock.try_lock(),
            };
            match taken {
                Ok(()) => return Ok(Some(CacheMount { folder, _lock: lock })),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(StoreError::io("lock", &folder)(error));
                }
            }
        }
        Ok(None)
    }

    /// Takes the first instance of the cache `id` alone, to save or to replace it; none while
    /// somebody uses it.
    pub fn try_own_cache(&self, id: &str) -> Result<Option<CacheMount>, StoreError> {
        let (folder, lock) = self.cache_instance(id, 0)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(CacheMount { folder, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &folder)(error)),
        }
    }

    /// Every cache there is, by id. What is no cache of ours is passed over.
    pub fn caches(&self) -> Result<Vec<StoredCache>, StoreError> {
        let folder = self.home().join("cache-mounts-v1");
        let mut caches = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let path = entry.map_err(StoreError::io("list", &folder))?.path();
            let Ok(id) = fs::read_to_string(path.join("id")) else { continue };
            if self.cache_folder(&id, 0).parent() != Some(&path) || !path.join("0/ready").exists() {
                continue;
            }
            let used = fs::metadata(path.join("0/data")).and_then(|data| data.modified()).ok();
            let instances = (0_u32..).take_while(|n| path.join(n.to_string()).is_dir()).count();
            caches.push(StoredCache { id, data: path.join("0/data"), instances, used });
        }
        caches.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(caches)
    }

    fn cache_folder(&self, id: &str, number: u32) -> PathBuf {
        let hash = Digest::of(id);
        self.home().join("cache-mounts-v1").join(&hash.hex()[..32]).join(number.to_string())
    }

    /// Makes the instance if it is not there, and opens its lock.
    fn cache_instance(&self, id: &str, number: u32) -> Result<(PathBuf, File), StoreError> {
        let folder = self.cache_folder(id, number);
        let path = folder.join("lock");
        let open = || File::options().write(true).create(true).truncate(false).open(&path);
        let lock = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&folder, id)?;
                open()
            }
            other => other,
        };
        Ok((folder.clone(), lock.map_err(StoreError::io("open", &path))?))
    }
}

/// Makes an instance; its `data` comes with the first use. The cache has its whole name before
/// it has anything else, or it would never be listed.
fn make(folder: &Path, id: &str) -> Result<(), StoreError> {
    let name = folder.with_file_name("id");
    if fs::read(&name).ok().as_deref() != Some(id.as_bytes()) {
        let cache = folder.parent().expect("an instance is in a cache");
        fs::create_dir_all(cache).map_err(StoreError::io("create", cache))?;
        let draft = cache.join(format!("id.{}", unique_name()));
        fs::write(&draft, id).map_err(StoreError::io("write", &draft))?;
        fs::rename(&draft, &name).map_err(StoreError::io("rename to", &name))?;
    }
    fs::create_dir_all(folder).map_err(StoreError::io("create", folder))
}

impl CacheMount {
    /// The directory to mount. Made empty, and belonging to whoever runs this, when the
    /// instance is new.
    pub fn path(&self) -> Result<PathBuf, StoreError> {
        let data = self.folder.join("data");
        match fs::create_dir(&data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(StoreError::io("create", &data)(error))
            }
            _ => Ok(data),
        }
    }

    /// Whether nobody has said yet that the directory has its first contents, owner and mode.
    pub fn is_new(&self) -> bool {
        !self.folder.join("ready").exists()
    }

    /// Puts a prepared directory, which is on the same file system, into the place of what
    /// is there. Who is killed on the way leaves a new cache.
    pub fn replace(&self, prepared: &Path) -> Result<(), StoreError> {
        let (ready, data) = (self.folder.join("ready"), self.folder.join("data"));
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &ready)(error));
            }
            _ => {}
        }
        remove_tree(&data)?;
        fs::rename(prepared, &data).map_err(StoreError::io("rename to", &data))?;
        self.mark_ready()
    }

    /// Says that the directory has its first contents, owner and mode.
    pub fn mark_ready(&self) -> Result<(), StoreError> {
        let path = self.folder.join("ready");
        File::create(&path).map(drop).map_err(StoreError::io("create", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    #[test]
    fn who_shares_meets_and_who_wants_its_own_does_not() {
        let (_folder, store) = store();
        let take = |sharing| store.try_cache_mount("/root/.cache", sharing).unwrap();
        let shared = take(Sharing::Shared).unwrap();
        let path = shared.path().unwrap();
        assert_eq!(take(Sharing::Shared).unwrap().path().unwrap(), path);
        let private = take(Sharing::Private).unwrap();
        assert_ne!(private.path().unwrap(), path);
        assert_ne!(take(Sharing::Private).unwrap().path().unwrap(), private.path().unwrap());
        let own = private.path().unwrap();
        drop(private);
        assert_eq!(take(Sharing::Private).unwrap().path().unwrap(), own, "it is used again");
        drop(shared);
        assert_eq!(take(Sharing::Private).unwrap().path().unwrap(), path, "the first is free");
        let other = store.try_cache_mount("/other", Sharing::Shared).unwrap().unwrap();
        assert_ne!(other.path().unwrap(), path);
    }

    #[test]
    fn who_locks_waits_for_its_turn() {
        let (_folder, store) = store();
        let first = store.cache_mount("apt", Sharing::Locked).unwrap();
        assert!(store.try_cache_mount("apt", Sharing::Locked).unwrap().is_none());
        let path = first.path().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| store.cache_mount("apt", Sharing::Locked).unwrap());
            drop(first);
            assert_eq!(waiting.join().unwrap().path().unwrap(), path);
        });
    }

    #[test]
    fn an_instance_is_new_until_it_is_ready_and_keeps_its_files() {
        let (_folder, store) = store();
        for (new, ready) in [(true, false), (true, true), (false, false)] {
            let mount = store.cache_mount("pip", Sharing::Shared).unwrap();
            assert_eq!(mount.is_new(), new);
            fs::write(mount.path().unwrap().join("file"), "x").unwrap();
            if ready {
                mount.mark_ready().unwrap();
            }
        }
        let mount = store.cache_mount("pip", Sharing::Locked).unwrap();
        assert!(mount.path().unwrap().join("file").exists());
    }

    #[test]
    fn caches_are_listed_once_they_have_contents() {
        let (_folder, store) = store();
        for id in ["b", "a"] {
            let mount = store.cache_mount(id, Sharing::Shared).unwrap();
            mount.path().unwrap();
            assert!(!store.caches().unwrap().iter().any(|cache| cache.id == id), "it is new");
            mount.mark_ready().unwrap();
            if id == "a" {
                store.cache_mount(id, Sharing::Private).unwrap();
            }
        }
        fs::create_dir_all(store.home().join("cache-mounts-v1/strange/0")).unwrap();
        let listed = store.caches().unwrap();
        let listed: Vec<_> = listed.iter().map(|it| (it.id.as_str(), it.instances)).collect();
        assert_eq!(listed, [("a", 2), ("b", 1)]);
    }

    #[test]
    fn a_name_that_was_half_written_is_written_again() {
        let (_folder, store) = store();
        let folder = store.cache_folder("go", 0);
        for half in ["", "g"] {
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
            fs::write(folder.with_file_name("id"), half).unwrap();
            let mount = store.cache_mount("go", Sharing::Shared).unwrap();
            mount.path().unwrap();
            mount.mark_ready().unwrap();
            let listed = store.caches().unwrap();
            assert_eq!(listed.len(), 1, "after `{half}`");
            assert_eq!((listed[0].id.as_str(), listed[0].instances), ("go", 1));
            fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn who_owns_a_cache_replaces_it_whole() {
        let (folder, store) = store();
        let used = store.cache_mount("go", Sharing::Shared).unwrap();
        fs::create_dir_all(used.path().unwrap().join("deep/old")).unwrap();
        used.mark_ready().unwrap();
        assert!(store.try_own_cache("go").unwrap().is_none(), "a step uses it");
        drop(used);
        let own = store.try_own_cache("go").unwrap().unwrap();
        assert!(store.try_own_cache("go").unwrap().is_none());
        let prepared = folder.path().join("prepared");
        fs::create_dir_all(prepared.join("new")).unwrap();
        own.replace(&prepared).unwrap();
        assert!(!own.is_new() && own.path().unwrap().join("new").is_dir());
        assert!(!own.path().unwrap().join("deep").exists() && !prepared.exists());
    }
}
