//! The calls, by name: facts about Docker's default profile and the kernel's numbers.

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// The 32-bit machine whose programs this one runs as well, if the table has its calls.
#[cfg(target_arch = "x86_64")]
pub(super) const RELATIVE: Option<u32> = Some(0x4000_0003);
#[cfg(not(target_arch = "x86_64"))]
pub(super) const RELATIVE: Option<u32> = None;

/// `socket` of i386.
pub(super) const RELATIVE_SOCKET: u32 = 359;
/// `personality` of i386.
pub(super) const RELATIVE_PERSONALITY: u32 = 136;
/// `clone` of i386.
pub(super) const RELATIVE_CLONE: u32 = 120;
/// `clone3` of i386.
pub(super) const RELATIVE_CLONE3: u32 = 435;

/// What i386 programs may not call: all of its calls that the profile does not name.
#[rustfmt::skip]
pub(super) const RELATIVE_REFUSED: &[u32] = &[
    // break, oldstat, mount, umount, stime, oldfstat, stty, gtty, ftime, prof, signal, acct
    17, 18, 21, 22, 25, 28, 31, 32, 35, 44, 48, 51,
    // umount2, lock, mpx, ulimit, oldolduname, sigaction to ssetmask, sigsuspend, sigpending
    52, 53, 56, 58, 59, 67, 68, 69, 72, 73,
    // oldlstat, readdir, olduname
    84, 89, 109,
    // ustat, sethostname, settimeofday, uselib, swapon, reboot, profil, ioperm, syslog, iopl
    62, 74, 79, 86, 87, 88, 98, 101, 103, 110,
    // vhangup, idle, vm86old, swapoff, setdomainname, create_module to get_kernel_syms, quotactl
    111, 112, 113, 115, 121, 127, 128, 129, 130, 131,
    // bdflush, sysfs, afs_syscall, _sysctl, vm86, query_module, nfsservctl, getpmsg, putpmsg
    134, 135, 137, 149, 166, 167, 169, 188, 189,
    // pivot_root, lookup_dcookie, clock_settime, vserver, mbind, get_mempolicy, set_mempolicy
    217, 253, 264, 273, 274, 275, 276,
    // kexec_load, add_key, request_key, keyctl, migrate_pages, unshare, move_pages
    283, 286, 287, 288, 294, 310, 317,
    // numbers that no call has
    222, 223, 251, 285, 387, 388, 389, 390, 391, 392, 415,
    // perf_event_open, fanotify_init, open_by_handle_at, setns, kcmp, finit_module, bpf
    336, 338, 342, 346, 349, 350, 357,
    // userfaultfd, clock_settime64, io_uring_*, open_tree to fspick, pidfd_getfd
    374, 404, 425, 426, 427, 428, 429, 430, 431, 432, 433, 438,
    // process_madvise, mount_setattr, quotactl_fd, set_mempolicy_home_node, lsm_*
    440, 442, 443, 450, 459, 460, 461,
];

/// The numbers of all calls that are let through whatever their arguments.
pub(super) fn allowed() -> Vec<u32> {
    let calls = everywhere().into_iter().chain(here());
    calls.map(|number| u32::try_from(number).expect("a call's number is small")).collect()
}

/// Calls that every machine has.
#[rustfmt::skip]
fn everywhere() -> Vec<libc::c_long> {
    use libc::*;
    let mut calls = vec![
        SYS_accept, SYS_accept4, SYS_adjtimex, SYS_bind, SYS_brk, SYS_capget, SYS_capset,
        SYS_chdir, SYS_chroot, SYS_clock_adjtime, SYS_clock_getres, SYS_clock_gettime,
        SYS_clock_nanosleep, SYS_close, SYS_close_range, SYS_connect, SYS_copy_file_range,
        SYS_dup, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2,
        SYS_eventfd2, SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_faccessat,
        SYS_faccessat2, SYS_fadvise64, SYS_fallocate, SYS_fanotify_mark, SYS_fchdir, SYS_fchmod,
        SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_fcntl, SYS_fdatasync, SYS_fgetxattr,
        SYS_flistxattr, SYS_flock, SYS_fremovexattr, SYS_fsetxattr, SYS_fstat, SYS_fstatfs,
        SYS_fsync, SYS_ftruncate, SYS_futex, SYS_futex_waitv, SYS_get_robust_list, SYS_getcpu,
        SYS_getcwd, SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups,
        SYS_getitimer, SYS_getpeername, SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority,
        SYS_getrandom, SYS_getresgid, SYS_getresuid, SYS_getrusage, SYS_getsid, SYS_getsockname,
        SYS_getsockopt, SYS_gettid, SYS_gettimeofday, SYS_getuid, SYS_getxattr,
        SYS_inotify_add_watch, SYS_inotify_init1, SYS_inotify_rm_watch, SYS_io_cancel,
        SYS_io_destroy, SYS_io_getevents, SYS_io_setup, SYS_io_submit, SYS_ioctl,
        SYS_ioprio_get, SYS_ioprio_set, SYS_kill, SYS_landlock_add_rule,
        SYS_landlock_create_ruleset, SYS_landlock_restrict_self, SYS_lgetxattr, SYS_linkat,
        SYS_listen, SYS_listxattr, SYS_llistxattr, SYS_lremovexattr, SYS_lseek, SYS_lsetxattr,
        SYS_madvise, SYS_membarrier, SYS_memfd_create, SYS_memfd_secret, SYS_mincore,
        SYS_mkdirat, SYS_mknodat, SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_mmap, SYS_mprotect,
        SYS_mq_getsetattr, SYS_mq_notify, SYS_mq_open, SYS_mq_timedreceive, SYS_mq_timedsend,
        SYS_mq_unlink, SYS_mremap, SYS_mseal, SYS_msgctl, SYS_msgget, SYS_msgrcv, SYS_msgsnd,
        SYS_msync, SYS_munlock, SYS_munlockall, SYS_munmap, SYS_name_to_handle_at,
        SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_openat2, SYS_pidfd_open,
        SYS_pidfd_send_signal, SYS_pipe2, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
        SYS_ppoll, SYS_prctl, SYS_pread64, SYS_preadv, SYS_preadv2, SYS_prlimit64,
        SYS_process_mrelease, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pselect6,
        SYS_ptrace, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readahead,
        SYS_readlinkat, SYS_readv, SYS_recvfrom, SYS_recvmmsg, SYS_recvmsg,
        SYS_remap_file_pages, SYS_removexattr, SYS_renameat2, SYS_restart_syscall, SYS_rseq,
        SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigqueueinfo,
        SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_rt_tgsigqueueinfo,
        SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getaffinity,
        SYS_sched_getattr, SYS_sched_getparam, SYS_sched_getscheduler,
        SYS_sched_rr_get_interval, SYS_sched_setaffinity, SYS_sched_setattr, SYS_sched_setparam,
        SYS_sched_setscheduler, SYS_sched_yield, SYS_seccomp, SYS_semctl, SYS_semget, SYS_semop,
        SYS_semtimedop, SYS_sendfile, SYS_sendmmsg, SYS_sendmsg, SYS_sendto,
        SYS_set_robust_list, SYS_set_tid_address, SYS_setfsgid, SYS_setfsuid, SYS_setgid,
        SYS_setgroups, SYS_setitimer, SYS_setpgid, SYS_setpriority, SYS_setregid, SYS_setresgid,
        SYS_setresuid, SYS_setreuid, SYS_setsid, SYS_setsockopt, SYS_setuid, SYS_setxattr,
        SYS_shmat, SYS_shmctl, SYS_shmdt, SYS_shmget, SYS_shutdown, SYS_sigaltstack,
        SYS_signalfd4, SYS_socketpair, SYS_splice, SYS_statfs, SYS_statx, SYS_symlinkat,
        SYS_sync, SYS_syncfs, SYS_sysinfo, SYS_tee, SYS_tgkill, SYS_timer_create,
        SYS_timer_delete, SYS_timer_getoverrun, SYS_timer_gettime, SYS_timer_settime,
        SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times, SYS_tkill,
        SYS_truncate, SYS_umask, SYS_uname, SYS_unlinkat, SYS_utimensat, SYS_vmsplice,
        SYS_wait4, SYS_waitid, SYS_write, SYS_writev,
    ];
    // These are younger than the C library's headers, and have one number everywhere:
    // cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue,
    // statmount, listmount, mseal, setxattrat, getxattrat, listxattrat, removexattrat.
    calls.extend([451, 452, 453, 454, 455, 456, 457, 458, 462, 463, 464, 465, 466]);
    calls
}

/// Calls of this machine only.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
fn here() -> Vec<libc::c_long> {
    use libc::*;
    let (io_pgetevents, uretprobe) = (333, 335);
    vec![
        io_pgetevents, uretprobe,
        SYS_access, SYS_alarm, SYS_arch_prctl, SYS_chmod, SYS_chown, SYS_creat, SYS_dup2,
        SYS_epoll_create, SYS_epoll_ctl_old, SYS_epoll_wait, SYS_epoll_wait_old, SYS_eventfd,
        SYS_fchmodat2, SYS_fork, SYS_futimesat, SYS_get_thread_area, SYS_getdents, SYS_getpgrp,
        SYS_getrlimit, SYS_inotify_init, SYS_lchown, SYS_link, SYS_lstat, SYS_mkdir, SYS_mknod,
        SYS_modify_ldt, SYS_open, SYS_pause, SYS_pipe, SYS_poll, SYS_readlink, SYS_rename,
        SYS_renameat, SYS_rmdir, SYS_select, SYS_set_thread_area, SYS_setrlimit, SYS_signalfd,
        SYS_stat, SYS_symlink, SYS_sync_file_range, SYS_time, SYS_unlink, SYS_utime, SYS_utimes,
        SYS_vfork,
    ]
}

/// Calls of this machine only.
#[cfg(target_arch = "aarch64")]
fn here() -> Vec<libc::c_long> {
    let (renameat, sync_file_range, getrlimit, setrlimit, io_pgetevents) = (38, 84, 163, 164, 292);
    vec![renameat, sync_file_range, getrlimit, setrlimit, io_pgetevents]
}
